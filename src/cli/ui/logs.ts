import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { isKind, RuntimeError } from "../../base/errors.ts";
import { ContainerState, type ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { LogLineView } from "../../page/view.ts";
import type { LogLine } from "../logs/log-line.ts";
import { readLog } from "../logs/read-log.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { commonHeaders } from "./respond.ts";

/** Lines of the past that a page can ask for. */
const maxTail = 10_000;
/** A longer line is cut: the page shows lines, and a container may write one of any length. */
const maxLineBytes = 16 * 1024;

/**
 * Sends the log of a container as lines of JSON (LogLineView), and follows it until the container exits or the page
 * disconnects. The file is read no faster than the page reads. Throws `not-found` without a log.
 */
export async function sendLog(
  server: Server,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const containerId = query.get("container") ?? "";
  const tail = Math.min(maxTail, Math.max(0, Number(query.get("tail") ?? 500) || 0));
  const statusOf = async (): Promise<ContainerStatus | undefined> => {
    const call = server.client.runtime.containerStatus({ containerId }, server.limit());
    return (await doing(`get the status of container "${containerId}"`, call)).status;
  };
  const path = (await statusOf())?.logPath ?? "";
  if (path === "") {
    throw new RuntimeError("not-found", "the container has no log: its request had no log_path");
  }
  const hasEnded = async (): Promise<boolean> => {
    try {
      const state = (await statusOf())?.state;
      return state === undefined || state === ContainerState.CONTAINER_EXITED;
    } catch (error) {
      return isKind(error, "not-found");
    }
  };
  const closed = new AbortController();
  response.on("close", () => closed.abort());
  const signal = AbortSignal.any([server.signal, closed.signal]);
  response.writeHead(200, { ...commonHeaders, "content-type": "application/x-ndjson" });
  response.flushHeaders();
  for await (const lines of readLog(path, { tail, follow: { hasEnded }, signal })) {
    if (lines.length === 0) continue;
    const text = lines.map((line) => `${JSON.stringify(toView(line))}\n`).join("");
    if (response.write(text) || response.destroyed) continue;
    await once(response, "drain", { signal }).catch(() => undefined);
  }
  response.end();
}

function toView({ time, stream, partial, text }: LogLine): LogLineView {
  const isLong = text.length > maxLineBytes;
  const shown = text.toString("utf8", 0, maxLineBytes);
  return { time, stream, partial, text: isLong ? `${shown} … (${text.length} bytes)` : shown };
}
