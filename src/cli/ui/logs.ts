import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { LogLine } from "../../linux/file/index.ts";
import type { LogLineView } from "../../page/view.ts";
import { containerLog } from "../logs/container-log.ts";
import type { Server } from "../server/session.ts";
import { commonHeaders } from "./respond.ts";

/** Lines of the past that a page can ask for. */
const maxTail = 10_000;
/** A longer line is cut: the page shows lines, and a container may write one of any length. */
const maxLineBytes = 16 * 1024;

/**
 * Sends the log of a container as lines of JSON (LogLineView), and follows it until the container exits or the page
 * disconnects. The log is read no faster than the page reads. Throws when there is none.
 */
export async function sendLog(
  server: Server,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const containerId = query.get("container") ?? "";
  const tail = Math.min(maxTail, Math.max(0, Number(query.get("tail") ?? 500) || 0));
  const closed = new AbortController();
  response.on("close", () => closed.abort());
  const signal = AbortSignal.any([server.signal, closed.signal]);
  const wanted = { containerId, name: containerId, tail, follow: true };
  const log = containerLog(server, wanted, signal);
  // Without a log, the answer is an error.
  const first = await log.next();
  response.writeHead(200, { ...commonHeaders, "content-type": "application/x-ndjson" });
  response.flushHeaders();
  if (first.done !== true) await send(response, first.value, signal);
  for await (const lines of log) await send(response, lines, signal);
  response.end();
}

async function send(
  response: ServerResponse,
  lines: readonly LogLine[],
  signal: AbortSignal,
): Promise<void> {
  if (lines.length === 0) return;
  const text = lines.map((line) => `${JSON.stringify(toView(line))}\n`).join("");
  if (response.write(text) || response.destroyed) return;
  await once(response, "drain", { signal }).catch(() => undefined);
}

function toView({ time, stream, partial, text }: LogLine): LogLineView {
  const isLong = text.length > maxLineBytes;
  const shown = text.toString("utf8", 0, maxLineBytes);
  return { time, stream, partial, text: isLong ? `${shown} … (${text.length} bytes)` : shown };
}
