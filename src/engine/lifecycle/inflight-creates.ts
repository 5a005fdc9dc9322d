import { messageOf, RuntimeError } from "../../base/errors.ts";
import { Rollback } from "../../base/rollback.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { ObjectStore, StoredObject } from "../../core/store/index.ts";

/** How {@link InflightCreates} creates an object, and how it removes one that no caller claims. */
export interface CreateRequest {
  /** Creates the object under its own deadline and returns its id. After a failure it has undone its work. */
  readonly build: () => Promise<string>;
  /** The current stage of build(), for the error of a conflicting request. */
  readonly stage: () => string;
  /** Shows the finished object to clients. */
  readonly publish: (id: string) => void;
  /** Removes a finished object that was not claimed. */
  readonly discard: (id: string, reason: DiscardReason) => void;
}

/**
 * How many finished objects may wait for their retry at once. A restarted kubelet retries the requests
 * that it had in progress; at the boot of a node those are all its pods and containers. Each waiting
 * pod occupies an address, a veth pair and up to four namespaces.
 */
export const maxUnclaimed = 256;

/** Why a finished object is removed. */
export type DiscardReason = "no retry claimed it in time" | "too many unclaimed objects";

interface Entry {
  readonly requestBytes: Uint8Array;
  readonly request: CreateRequest;
  readonly startedAtMs: number;
  readonly done: Promise<string>;
  waiters: number;
  /** The id of the finished object while it waits for the retry of a caller that disconnected. */
  heldId: string | undefined;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Creates that outlive their callers.
 *
 * A kubelet whose request timed out sends it again, byte for byte. Two mistakes are common here: to
 * refuse the name while the first try still runs, and to leak what the first try creates. So a create
 * runs under its own deadline, and an equal request joins it. A finished object whose caller has
 * disconnected is held, unlisted, until the retry claims it or the hold time is over. When more than
 * {@link maxUnclaimed} are held, the one that has been held longest is removed at once.
 */
export class InflightCreates {
  readonly #entries = new Map<string, Entry>();
  readonly #tasks: TaskGroup;
  readonly #clock: Clock;
  readonly #holdMs: number;

  constructor(deps: { readonly tasks: TaskGroup; readonly clock: Clock; readonly holdMs: number }) {
    this.#tasks = deps.tasks;
    this.#clock = deps.clock;
    this.#holdMs = deps.holdMs;
  }

  /** True while the object `name` is being created or held. */
  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The names of the finished, unlisted objects that are held for a retry. */
  unclaimed(): readonly string[] {
    return [...this.#entries].flatMap(([name, { heldId }]) => (heldId === undefined ? [] : [name]));
  }

  /** Forgets a held object that was removed together with its sandbox. Its name is free again. */
  forget(name: string, id: string): void {
    const entry = this.#entries.get(name);
    if (entry?.heldId !== id) return;
    clearTimeout(entry.timer);
    this.#entries.delete(name);
  }

  /**
   * The id of the requested object, created by this request or by an equal one before it.
   *
   * Rejects with `failed-precondition` when a different request is creating or has created the object
   * of this name, and with the reason of `caller` when that is aborted first.
   */
  async run(
    name: string,
    requestBytes: Uint8Array,
    caller: AbortSignal,
    begin: () => CreateRequest,
  ): Promise<string> {
    caller.throwIfAborted();
    const entry = this.#entries.get(name) ?? this.#begin(name, requestBytes, begin());
    this.#checkSame(name, entry, requestBytes);
    if (entry.heldId !== undefined) return this.#claim(name, entry, entry.heldId);
    entry.waiters++;
    try {
      return await beforeAbort(entry.done, caller);
    } finally {
      entry.waiters--;
    }
  }

  #begin(name: string, requestBytes: Uint8Array, request: CreateRequest): Entry {
    const { promise: done, resolve, reject } = Promise.withResolvers<string>();
    const entry: Entry = {
      requestBytes,
      request,
      startedAtMs: this.#clock.nowMs(),
      done,
      waiters: 0,
      heldId: undefined,
      timer: undefined,
    };
    this.#entries.set(name, entry);
    // The callers that wait get the failure. Without any, it has been undone and logged already.
    done.catch(() => undefined);
    this.#tasks.spawn(`create "${name}"`, async () => {
      try {
        const id = await request.build();
        if (entry.waiters > 0) this.#claim(name, entry, id);
        else this.#keepUnclaimed(name, entry, id);
        resolve(id);
      } catch (error) {
        this.#entries.delete(name);
        reject(error);
      }
    });
    return entry;
  }

  #claim(name: string, entry: Entry, id: string): string {
    clearTimeout(entry.timer);
    this.#entries.delete(name);
    entry.request.publish(id);
    return id;
  }

  #keepUnclaimed(name: string, entry: Entry, id: string): void {
    entry.heldId = id;
    entry.timer = setTimeout(
      () => this.#discard(name, "no retry claimed it in time"),
      this.#holdMs,
    );
    entry.timer.unref();
    // Reinserted, so that the map has the held objects in the order in which their hold began.
    this.#entries.delete(name);
    this.#entries.set(name, entry);
    const held = this.unclaimed();
    const [oldest = name] = held;
    if (held.length > maxUnclaimed) this.#discard(oldest, "too many unclaimed objects");
  }

  #discard(name: string, reason: DiscardReason): void {
    const entry = this.#entries.get(name);
    if (entry?.heldId === undefined) return;
    clearTimeout(entry.timer);
    this.#entries.delete(name);
    entry.request.discard(entry.heldId, reason);
  }

  #checkSame(name: string, entry: Entry, requestBytes: Uint8Array): void {
    if (equalBytes(entry.requestBytes, requestBytes)) return;
    const age = Math.round((this.#clock.nowMs() - entry.startedAtMs) / 1000);
    const what =
      entry.heldId === undefined
        ? `a different request has been creating it for ${String(age)} s, stage ${entry.request.stage()}`
        : `a different request, which disconnected, created it ${String(age)} s ago; it is removed unless that request is repeated within ${String(this.#holdMs / 1000)} s`;
    throw new RuntimeError("failed-precondition", `create "${name}": ${what}; try again`);
  }

  /** Cancels the timers, when the daemon exits. The records of held objects stay. */
  [Symbol.dispose](): void {
    for (const entry of this.#entries.values()) clearTimeout(entry.timer);
  }
}

/**
 * Rejects a name that is in use: `already-exists` with the id when a client knows the object,
 * `unavailable` when the object is unfinished and being removed.
 */
export function checkNameIsFree(
  store: Pick<ObjectStore<StoredObject>, "idOfName" | "isListed">,
  name: string,
  words: { readonly doing: string; readonly noun: string; readonly attempt: string },
): void {
  const id = store.idOfName(name);
  if (id === undefined) return;
  const { doing, noun, attempt } = words;
  if (store.isListed(id)) {
    throw new RuntimeError(
      "already-exists",
      `${doing} "${name}": ${noun} "${id}" is ${attempt}; remove it, or use the next attempt number`,
    );
  }
  throw new RuntimeError(
    "unavailable",
    `${doing} "${name}": an unfinished ${noun} of this name, "${id}", is being removed; try again`,
  );
}

/**
 * Builds an object for an operation. A failure undoes the steps in reverse order, and is then explained
 * and logged. `onStuck` is called for each step that could not be undone in time.
 */
export async function buildOrUndo<T>(
  operation: RunningOperation,
  onStuck: (what: string, error: unknown) => void,
  assemble: (undo: Rollback) => Promise<T>,
): Promise<T> {
  try {
    await using undo = new Rollback({
      onRetry: (what, error) => {
        operation.log.warn(`cannot ${what}`, { error: messageOf(error) });
      },
      onStuck,
    });
    const made = await assemble(undo);
    undo.commit();
    return made;
  } catch (error) {
    const explained = operation.explain(error);
    operation.log.warn(explained.message);
    throw explained;
  }
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
