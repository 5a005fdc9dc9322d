import { setTimeout as sleep } from "node:timers/promises";
import { isKind } from "../base/errors.ts";
import { watchChanges } from "../client/events.ts";
import {
  ContainerEventType,
  ContainerState,
  type ContainerStatus,
} from "../gen/runtime/v1/api_pb.ts";
import type { Exit, Usage } from "./api/container.ts";
import { DavitError } from "./errors.ts";
import type { CommandTarget } from "./exec.ts";
import { toDate } from "./logs.ts";

/** Waits for the end of a container. */
export async function ended(target: CommandTarget, signal?: AbortSignal): Promise<Exit> {
  const { connection, id, path } = target;
  const what = `wait for the end of container "${path}"`;
  connection.check(what);
  // Without a request that runs all the time, nothing keeps the process until the end.
  const stop = new AbortController();
  const all = [stop.signal, connection.closed, ...(signal === undefined ? [] : [signal])];
  try {
    for await (const news of watchChanges(connection.client, { signal: AbortSignal.any(all) })) {
      const isRelevant =
        news.kind === "look" ||
        (news.event.containerId === id &&
          news.event.containerEventType !== ContainerEventType.CONTAINER_STARTED_EVENT);
      if (!isRelevant) continue;
      const exit = await exitOf(target, signal);
      if (exit !== undefined) return exit;
    }
  } catch (error) {
    throw connection.explain(what, error, signal);
  } finally {
    stop.abort();
  }
  throw new DavitError("unavailable", `${what}: the server reports no changes any more`);
}

/** How a container ended; undefined while it runs. Throws `not-found` when it was removed. */
export async function exitOf(
  target: CommandTarget,
  signal?: AbortSignal,
): Promise<Exit | undefined> {
  const status = await statusOf(target, signal);
  return status.state === ContainerState.CONTAINER_EXITED ? toExit(status) : undefined;
}

/** The status of a container. Throws `not-found` when it was removed. */
export async function statusOf(
  { connection, id, path }: CommandTarget,
  signal?: AbortSignal,
): Promise<ContainerStatus> {
  const what = `get the status of container "${path}"`;
  const call = connection.client.runtime.containerStatus(
    { containerId: id },
    connection.quick(signal),
  );
  const { status } = await connection.doing(what, call, signal);
  if (status !== undefined) return status;
  throw new DavitError("internal", `${what}: the server sent no status`);
}

function toExit({ exitCode, reason, message, finishedAt }: ContainerStatus): Exit {
  return { exitCode, reason, message, finishedAt: toDate(finishedAt) };
}

/** What a container uses, or used until its end. */
export async function usage(
  { connection, id, path }: CommandTarget,
  signal?: AbortSignal,
): Promise<Usage> {
  const what = `get the usage of container "${path}"`;
  const call = connection.client.containers.usage({ containerId: id }, connection.quick(signal));
  const found = await connection.davitOnly(what, call, signal);
  const number = (value: bigint | undefined): number | undefined =>
    value === undefined ? undefined : Number(value);
  const { cpuNs } = found;
  return {
    time: toDate(found.timeNs),
    ended: found.ended,
    cpuMs: cpuNs === undefined ? undefined : Number(cpuNs) / 1e6,
    memoryBytes: number(found.memoryBytes),
    memoryPeakBytes: number(found.memoryPeakBytes),
    oomKills: number(found.oomKills),
    readBytes: number(found.readBytes),
    writtenBytes: number(found.writtenBytes),
    pids: number(found.pids),
  };
}

/** The usage at intervals, until the container has ended or was removed, or the signal is aborted. */
export async function* stats(
  target: CommandTarget,
  { everyMs = 1_000, signal }: { readonly everyMs?: number; readonly signal?: AbortSignal } = {},
): AsyncGenerator<Usage, void, undefined> {
  const isOver = (): boolean => signal?.aborted === true;
  while (!isOver()) {
    let sample: Usage;
    try {
      sample = await usage(target, signal);
    } catch (error) {
      if (isOver() || isKind((error as DavitError).cause, "not-found")) return;
      throw error;
    }
    yield sample;
    if (sample.ended) return;
    await sleep(everyMs, undefined, signal && { signal }).catch(() => undefined);
  }
}
