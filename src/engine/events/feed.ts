import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Container, ContainerStore } from "../../core/container/index.ts";
import type { Sandbox, SandboxStore } from "../../core/sandbox/index.ts";
import { recordedStatus, type SandboxStatus, type StatusContext } from "../sandbox/index.ts";
import { Readers } from "./readers.ts";
import type { QueueLimits, Subscription } from "./subscription.ts";

/** The kinds of events, for containers and for sandboxes. */
export type EventKind = "created" | "started" | "stopped" | "deleted";

/** A change of a container or a sandbox that clients can see already. */
export interface PodEvent {
  readonly kind: EventKind;
  /** The id of the container, or of the sandbox for an event of the sandbox itself. */
  readonly id: string;
  /** Nanoseconds since 1970; later for each event. The time of the statuses, too. */
  readonly atNs: bigint;
  /**
   * The sandbox with its containers right after the change; a deleted container is not among them. A
   * deleted sandbox has its last value. Undefined when the record of the sandbox is lost, and for a deleted sandbox
   * whose pod has another one.
   */
  readonly pod: SandboxStatus | undefined;
}

/** What the feed reads, and what it makes for its readers. */
interface FeedParts extends StatusContext {
  readonly store: SandboxStore;
  readonly containerStore: ContainerStore;
  /** Encodes an event, once for all readers. */
  readonly encode: (event: PodEvent) => Uint8Array;
  /** The most that waits for one reader. */
  readonly limits: QueueLimits;
  readonly log: Logger;
}

/**
 * The events of all listed containers and sandboxes, for any number of readers. It does nothing while
 * there are none: it listens to the stores from the first subscription to the end of the last.
 */
export class EventFeed {
  readonly #parts: FeedParts;
  readonly #readers: Readers;
  #listening: DisposableStack | undefined;

  constructor(parts: FeedParts) {
    this.#parts = parts;
    this.#readers = new Readers(parts.limits, parts.log);
  }

  /** The number of readers. */
  get readers(): number {
    return this.#readers.size;
  }

  /**
   * Begins to collect events for a reader, which must dispose of the result. Throws the error of close()
   * after it.
   */
  subscribe(): Subscription {
    const subscription = this.#readers.add(() => {
      if (this.#readers.size === 0) this.#stopListening();
    });
    this.#listening ??= this.#listen();
    return subscription;
  }

  /** Ends all subscriptions with this error, after the events that wait for them. */
  close(error: RuntimeError): void {
    this.#readers.close(error);
  }

  #listen(): DisposableStack {
    const { store, containerStore } = this.#parts;
    const listening = new DisposableStack();
    listening.use(
      store.listen((sandbox, change, before) => {
        for (const kind of sandboxEvents(sandbox, change, before)) {
          const isReplaced = kind === "deleted" && hasSuccessor(sandbox, store);
          this.#publish(kind, sandbox.id, isReplaced ? undefined : sandbox);
        }
      }),
    );
    listening.use(
      containerStore.listen((container, change, before) => {
        const { id, sandboxId } = container;
        for (const kind of containerEvents(container, change, before)) {
          this.#publish(kind, id, store.peek(sandboxId));
        }
      }),
    );
    return listening;
  }

  #stopListening(): void {
    this.#listening?.[Symbol.dispose]();
    this.#listening = undefined;
  }

  #publish(kind: EventKind, id: string, sandbox: Sandbox | undefined): void {
    const { encode, log } = this.#parts;
    let event: Uint8Array;
    try {
      const pod = sandbox === undefined ? undefined : recordedStatus(this.#parts, sandbox);
      const atNs = pod?.timestampNs ?? this.#parts.clock.nowNs();
      event = encode({ kind, id, atNs, pod });
    } catch (cause) {
      // A listener must not throw, and readers must not believe that nothing happened.
      log.error("failed to encode an event; ending all event streams", { id, kind, error: cause });
      const message = `encode the ${kind} event of "${id}": davit failed; list pods and containers again, and open a new stream`;
      this.#readers.failAll(new RuntimeError("internal", message, { cause }));
      return;
    }
    this.#readers.push(event);
  }
}

/**
 * Whether the pod of a removed sandbox has another one. kubelet forgets the whole pod when the status of a deleted
 * sandbox has its uid (pkg/kubelet/pleg/evented.go), and it removes old sandboxes of running pods.
 */
function hasSuccessor({ id, config }: Sandbox, store: Pick<SandboxStore, "listed">): boolean {
  const uid = config.metadata?.uid ?? "";
  for (const other of store.listed()) {
    if (other.id !== id && uid !== "" && other.config.metadata?.uid === uid) return true;
  }
  return false;
}

type Change = Parameters<Parameters<ContainerStore["listen"]>[0]>[1];

/** The events of a change of a container; none if its state stays. */
function containerEvents(
  { state }: Container,
  change: Change,
  before: Container | undefined,
): readonly EventKind[] {
  if (change === "listed") return ["created"];
  if (change === "removed") return ["deleted"];
  if (state.name === before?.state.name) return [];
  // A container whose start failed has ended, too.
  return state.name === "running" ? ["started"] : ["stopped"];
}

/**
 * The events of a change of a sandbox. RunPodSandbox creates and starts it, which is one step for clients.
 * One that could not be undone is listed dead.
 */
function sandboxEvents(
  { state }: Sandbox,
  change: Change,
  before: Sandbox | undefined,
): readonly EventKind[] {
  if (change === "listed") return ["created", state.name === "ready" ? "started" : "stopped"];
  if (change === "removed") return ["deleted"];
  return before?.state.name === "ready" && state.name !== "ready" ? ["stopped"] : [];
}
