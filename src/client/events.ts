// Watches the containers and sandboxes of any CRI server. `watchEvents` is the stream of its events, with
// reconnection; `watchChanges` also works without such a stream, and says when to list.
import { setTimeout as sleep } from "node:timers/promises";
import { isKind } from "../base/errors.ts";
import { valueWithin } from "../base/wait.ts";
import type { EventsResponse } from "../gen/davit/v1/daemon_pb.ts";
import type { ContainerEventResponse } from "../gen/runtime/v1/api_pb.ts";
import type { CallOptions, CriClient } from "./cri-client.ts";

/** What a watch of events reports. */
export type EventNews<Event = ContainerEventResponse> =
  /** The server reports every change from now on; what was before is in its lists. */
  | { readonly kind: "open" }
  | { readonly kind: "event"; readonly event: Event }
  /** The stream has ended. Events are missed until the next "open". */
  | { readonly kind: "lost"; readonly error: unknown };

/** What a watch of changes reports. */
export type ChangeNews =
  /** Something may have changed: list the objects now. */
  { readonly kind: "look" } | { readonly kind: "event"; readonly event: ContainerEventResponse };

/** The options of a watch. */
export interface WatchOptions {
  /** Ends the watch, which then throws the signal's reason. */
  readonly signal: AbortSignal;
  /** Between two attempts to connect, and between two looks at a server without events; 500 ms. */
  readonly intervalMs?: number;
}

const defaultIntervalMs = 500;

type EventClient = Pick<CriClient, "runtime">;

/**
 * The events of a server, until `signal` is aborted. Connects again when the stream is lost. Returns when
 * the server does not send events: it does not have the method, or ends the stream at once, as CRI-O does
 * without enable_pod_events.
 *
 * davit's stream is open at once. Servers on grpc-go send the headers of a stream with its first message:
 * then "open" comes only right before the first event.
 */
export function watchEvents(
  { runtime }: EventClient,
  options: WatchOptions,
): AsyncGenerator<EventNews, void, undefined> {
  return watchStream((callOptions) => runtime.getContainerEvents({}, callOptions), options);
}

/** The events of a davit node that are not of containers and sandboxes; otherwise like {@link watchEvents}. */
export function watchNodeEvents(
  { daemon }: Pick<CriClient, "daemon">,
  options: WatchOptions,
): AsyncGenerator<EventNews<EventsResponse>, void, undefined> {
  return watchStream((callOptions) => daemon.events({}, callOptions), options);
}

type OpenStream<Event> = (options: CallOptions) => AsyncIterable<Event>;

async function* watchStream<Event>(
  open: OpenStream<Event>,
  { signal, intervalMs = defaultIntervalMs }: WatchOptions,
): AsyncGenerator<EventNews<Event>, void, undefined> {
  for (;;) {
    signal.throwIfAborted();
    let error: unknown;
    try {
      const ended = yield* streamOnce(open, signal);
      if (ended === "unsupported") return;
    } catch (cause) {
      signal.throwIfAborted();
      if (isKind(cause, "unimplemented")) return;
      error = cause;
    }
    yield { kind: "lost", error };
    await pause(intervalMs, signal);
  }
}

/** One stream of events. Returns when the server ends it, and throws its error. */
async function* streamOnce<Event>(
  open: OpenStream<Event>,
  signal: AbortSignal,
): AsyncGenerator<EventNews<Event>, "ended" | "unsupported", undefined> {
  using canceled = cancelable(signal);
  const opening = Promise.withResolvers<"open">();
  const state = { isOpen: false };
  const onOpen = (): void => {
    state.isOpen = true;
    opening.resolve("open");
  };
  const events = open({ signal: canceled.signal, onOpen })[Symbol.asyncIterator]();
  let next: Promise<IteratorResult<Event, undefined>> = events.next();
  // The reader may leave before it is settled.
  next.catch(() => undefined);
  if ((await Promise.race([opening.promise, next])) === "open") yield { kind: "open" };
  for (;;) {
    const step = await next;
    if (step.done === true) return state.isOpen ? "ended" : "unsupported";
    yield { kind: "event", event: step.value };
    next = events.next();
  }
}

/**
 * Says when to list the objects of a server, and reports the events between, until `signal` is aborted. Who
 * lists at each "look" and reads the events misses nothing: there is a "look" at the beginning, one whenever
 * a stream of events is open, and one in each interval while there is none. An event may be older than the
 * last list.
 */
export async function* watchChanges(
  client: EventClient,
  { signal, intervalMs = defaultIntervalMs }: WatchOptions,
): AsyncGenerator<ChangeNews, void, undefined> {
  using canceled = cancelable(signal);
  const watch = watchEvents(client, { signal: canceled.signal, intervalMs });
  let next = nextOf(watch);
  let isOpen = false;
  yield { kind: "look" };
  for (;;) {
    const step: Step | undefined = isOpen
      ? await next
      : await valueWithin(next, intervalMs, canceled.signal);
    signal.throwIfAborted();
    if (step?.done === true) break;
    if (step === undefined) {
      yield { kind: "look" };
      continue;
    }
    next = nextOf(watch);
    if (step.value.kind === "event") {
      yield step.value;
    } else {
      isOpen = step.value.kind === "open";
      yield { kind: "look" };
    }
  }
  for (;;) {
    await pause(intervalMs, signal);
    yield { kind: "look" };
  }
}

type Step = IteratorResult<EventNews, void>;

/** The next news. The reader may leave before it is settled. */
function nextOf(watch: AsyncGenerator<EventNews, void, undefined>): Promise<Step> {
  const next = watch.next();
  next.catch(() => undefined);
  return next;
}

/** A signal that is also aborted by its disposal: it ends a call whose response is still awaited. */
function cancelable(signal: AbortSignal): Disposable & { readonly signal: AbortSignal } {
  const own = new AbortController();
  return {
    signal: AbortSignal.any([signal, own.signal]),
    [Symbol.dispose]: () => {
      own.abort();
    },
  };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {
    signal.throwIfAborted();
  });
}
