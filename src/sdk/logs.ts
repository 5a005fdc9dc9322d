import { LogLine_Stream } from "../gen/davit/v1/containers_pb.ts";
import type { LogLine, LogsOptions } from "./api/container.ts";
import type { CommandTarget } from "./exec.ts";
import { isMissingCall } from "./explain.ts";

/** The lines of a container's log. */
export async function* logs(
  { connection, id, path }: CommandTarget,
  options: LogsOptions = {},
): AsyncGenerator<LogLine, void, undefined> {
  const { follow = false, tail, since, until, signal } = options;
  const what = `read the log of container "${path}"`;
  connection.check(what);
  const isOver = (): boolean => signal?.aborted === true;
  if (isOver()) return;
  const request = {
    containerId: id,
    follow,
    ...(tail === undefined ? {} : { tail: BigInt(tail) }),
    sinceNs: since === undefined ? 0n : toNs(since),
    untilNs: until === undefined ? 0n : toNs(until),
  };
  try {
    for await (const { lines } of connection.client.containers.logs(request, {
      ...(signal && { signal }),
    })) {
      for (const { timeNs, stream, text, partial } of lines) {
        yield {
          time: toDate(timeNs),
          stream: stream === LogLine_Stream.STDERR ? "stderr" : "stdout",
          text: Buffer.from(text).toString("utf8"),
          partial,
        };
      }
    }
  } catch (error) {
    if (isOver()) return;
    if (isMissingCall(error))
      throw connection.unsupported(
        what,
        "its log is a file of the node; connect to a current davit",
        error,
      );
    throw connection.explain(what, error);
  }
}

/** The last lines of a log, without an error if it cannot be read. */
export async function lastLines(target: CommandTarget, count: number): Promise<readonly string[]> {
  const lines: string[] = [];
  try {
    for await (const { text } of logs(target, { tail: count, signal: AbortSignal.timeout(2_000) }))
      lines.push(text);
  } catch {
    // The message that is made of it goes without.
  }
  return lines;
}

/** Nanoseconds since 1970 as a Date. */
export function toDate(ns: bigint): Date {
  return new Date(Number(ns / 1_000_000n));
}

function toNs(date: Date): bigint {
  return BigInt(date.getTime()) * 1_000_000n;
}
