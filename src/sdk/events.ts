import { isKind } from "../base/errors.ts";
import { watchEvents } from "../client/events.ts";
import type { EventsResponse } from "../gen/davit/v1/daemon_pb.ts";
import {
  type ContainerEventResponse,
  ContainerEventType,
  type ContainerStatus,
} from "../gen/runtime/v1/api_pb.ts";
import type { ContainerEvent, DavitEvent, EventsOptions } from "./api/events.ts";
import type { Connection } from "./connection.ts";
import { DavitError } from "./errors.ts";
import { toDate } from "./logs.ts";

/** More than this number of unread events ends the loop with an error, since events are missed then. */
const maxWaiting = 10_000;

/** What happens on a server: the events of the CRI and those of davit, as they come. */
export async function* events(
  connection: Connection,
  { signal }: EventsOptions = {},
): AsyncGenerator<DavitEvent, void, undefined> {
  const what = "read the events of the server";
  connection.check(what);
  const stop = new AbortController();
  const all = [stop.signal, connection.closed, ...(signal === undefined ? [] : [signal])];
  const ends = AbortSignal.any(all);
  const waiting: DavitEvent[] = [];
  let news = Promise.withResolvers<undefined>();
  let failure: { readonly error: unknown } | undefined;
  const wake = (): void => {
    news.resolve(undefined);
    news = Promise.withResolvers();
  };
  const read = async (source: AsyncIterable<DavitEvent | undefined>): Promise<void> => {
    for await (const event of source) {
      if (event === undefined) continue;
      if (waiting.length >= maxWaiting)
        throw new Error("the program does not read them fast enough");
      waiting.push(event);
      wake();
    }
  };
  const readers = [criEvents(connection, ends), davitEvents(connection, ends)].map((source) =>
    read(source).catch((error: unknown) => {
      failure ??= { error };
      wake();
    }),
  );
  void Promise.all(readers).then(() => {
    failure ??= {
      error: new DavitError("unsupported", `${what}: the server does not report events`),
    };
    wake();
  });
  try {
    for (;;) {
      const next = news.promise;
      const event = waiting.shift();
      if (event !== undefined) yield event;
      else if (signal?.aborted === true) return;
      else if (failure !== undefined) throw connection.explain(what, failure.error);
      else await next;
    }
  } finally {
    stop.abort();
  }
}

async function* criEvents(
  { client }: Connection,
  signal: AbortSignal,
): AsyncGenerator<DavitEvent | undefined, void, undefined> {
  for await (const news of watchEvents(client, { signal })) {
    if (news.kind === "event") yield toContainerEvent(news.event);
  }
}

async function* davitEvents(
  { client, isDavit }: Connection,
  signal: AbortSignal,
): AsyncGenerator<DavitEvent | undefined, void, undefined> {
  while (isDavit && !signal.aborted) {
    try {
      for await (const response of client.daemon.events({}, { signal })) yield toEvent(response);
    } catch (error) {
      signal.throwIfAborted();
      if (isKind(error, "unimplemented")) return;
      if (!isKind(error, "unavailable")) throw error;
      // The other stream connects again, too; this one follows it.
      await new Promise((resolve) => setTimeout(resolve, 500).unref());
    }
  }
}

const containerTypes: ReadonlyMap<number, ContainerEvent["type"]> = new Map([
  [ContainerEventType.CONTAINER_CREATED_EVENT, "container-created"],
  [ContainerEventType.CONTAINER_STARTED_EVENT, "container-started"],
  [ContainerEventType.CONTAINER_STOPPED_EVENT, "container-ended"],
  [ContainerEventType.CONTAINER_DELETED_EVENT, "container-removed"],
]);

function toContainerEvent(event: ContainerEventResponse): ContainerEvent | undefined {
  const type = containerTypes.get(event.containerEventType);
  const podId = event.podSandboxStatus?.id ?? "";
  // Events of sandboxes have the id of the sandbox.
  if (type === undefined || event.containerId === podId) return undefined;
  const status: ContainerStatus | undefined = event.containersStatuses.find(
    ({ id }) => id === event.containerId,
  );
  const hasEnded = type === "container-ended";
  return {
    type,
    time: toDate(event.createdAt),
    containerId: event.containerId,
    podId,
    container: status?.metadata?.name,
    exitCode: hasEnded ? status?.exitCode : undefined,
    reason: hasEnded ? status?.reason : undefined,
  };
}

function toEvent({ timeNs, event }: EventsResponse): DavitEvent | undefined {
  const time = toDate(timeNs);
  switch (event.case) {
    case "imagePulled":
      return { type: "image-pulled", time, id: event.value.id, names: [event.value.name] };
    case "imageRemoved":
      return { type: "image-removed", time, id: event.value.id, names: event.value.names };
    case "oomKilled":
      return {
        type: "oom-killed",
        time,
        containerId: event.value.containerId,
        podId: event.value.sandboxId,
      };
    case "pluginConnected": {
      const { name, index } = event.value;
      return { type: "plugin-connected", time, name, index, reason: undefined };
    }
    case "pluginLost":
      return { type: "plugin-lost", time, ...lostPlugin(event.value) };
    case undefined:
      return undefined;
  }
}

function lostPlugin({ name, index, reason }: { name: string; index: string; reason: string }) {
  return { name, index, reason };
}
