import { setTimeout as sleep } from "node:timers/promises";
import { isKind } from "../../base/errors.ts";
import { formatLogTime } from "../../base/log-time.ts";
import {
  LogLine_Stream as Stream,
  type LogLine as LogMessage,
} from "../../gen/davit/v1/containers_pb.ts";
import { ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import { type LogLine, readLog } from "../../linux/file/index.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** Which container's log, and which lines of it. */
export interface WantedLog {
  readonly containerId: string;
  /** For errors. */
  readonly name: string;
  readonly tail?: number | undefined;
  readonly sinceNs?: bigint | undefined;
  readonly untilNs?: bigint | undefined;
  /** Until the container has exited. */
  readonly follow: boolean;
}

type LogServer = Pick<Server, "client" | "limit" | "unlimited">;

/**
 * The lines of a container's log in batches, read no faster than they are consumed. davit sends them; the file of
 * another server is read here, which must be its machine. Returns when `signal` is aborted.
 */
export async function* containerLog(
  server: LogServer,
  wanted: WantedLog,
  signal: AbortSignal,
): AsyncGenerator<readonly LogLine[]> {
  const { containerId, follow, tail, sinceNs, untilNs } = wanted;
  const request = {
    containerId,
    follow,
    ...(tail === undefined ? {} : { tail: BigInt(tail) }),
    ...(sinceNs === undefined ? {} : { sinceNs }),
    ...(untilNs === undefined ? {} : { untilNs }),
  };
  try {
    const options = { ...server.unlimited(), signal };
    for await (const { lines } of server.client.containers.logs(request, options)) {
      yield lines.map(lineOf);
    }
    return;
  } catch (error) {
    if (signal.aborted) return;
    if (!isKind(error, "unimplemented")) throw error;
  }
  yield* logOfFile(server, wanted, signal);
}

function lineOf({ timeNs, stream, partial, text }: LogMessage): LogLine {
  return {
    time: timeNs === 0n ? "" : formatLogTime(timeNs),
    stream: stream === Stream.STDERR ? "stderr" : "stdout",
    partial,
    text: Buffer.from(text.buffer, text.byteOffset, text.length),
  };
}

async function* logOfFile(
  server: LogServer,
  { containerId, name, tail, sinceNs, untilNs, follow }: WantedLog,
  signal: AbortSignal,
): AsyncGenerator<readonly LogLine[]> {
  const statusOf = async () => {
    const answer = server.client.runtime.containerStatus({ containerId }, server.limit());
    return (await doing(`get the status of container "${name}"`, answer)).status;
  };
  const path = (await statusOf())?.logPath ?? "";
  if (path === "") {
    throw new CommandFailure(
      exitCode.failed,
      `read the log of container "${name}": it has no log, since its request had no log_path`,
    );
  }
  const hasEnded = async (): Promise<boolean> => {
    try {
      const state = (await statusOf())?.state;
      return state === undefined || state === ContainerState.CONTAINER_EXITED;
    } catch (error) {
      if (isKind(error, "not-found")) return true;
      throw error;
    }
  };
  using end = follow ? pollEnd(hasEnded) : undefined;
  try {
    yield* readLog(path, { tail, sinceNs, untilNs, follow: end, signal });
  } catch (error) {
    if (!isKind(error, "not-found")) throw error;
    throw new CommandFailure(
      exitCode.failed,
      `read the log of container "${name}": "${path}" not found: the container has not started yet, ` +
        "or the file is on another machine or in another mount namespace; run davit logs where the server runs",
    );
  }
  await end?.isAsked();
}

/** Between two questions for the state of a container. */
const statusMs = 500;

interface EndPoll extends Disposable {
  /** Aborted when the container has ended, or its state cannot be read. */
  readonly ended: AbortSignal;
  /** Rejects when it cannot be read. */
  isAsked(): Promise<void>;
}

function pollEnd(hasEnded: () => Promise<boolean>): EndPoll {
  const end = new AbortController();
  const left = new AbortController();
  const poll = async (): Promise<void> => {
    while (!left.signal.aborted && !(await hasEnded())) {
      await sleep(statusMs, undefined, { signal: left.signal }).catch(() => undefined);
    }
  };
  const polled = poll().finally(() => {
    end.abort();
  });
  polled.catch(() => undefined);
  return {
    ended: end.signal,
    isAsked: () => (end.signal.aborted ? polled : Promise.resolve()),
    [Symbol.dispose]: () => {
      left.abort();
    },
  };
}
