import { messageOf, RuntimeError } from "../../base/errors.ts";
import { Rollback } from "../../base/rollback.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { ObjectStore, StoredObject } from "../../core/store/index.ts";

/** What makes an object for {@link InflightCreates}, and what takes it away when nobody wants it. */
export interface CreateRequest {
  /** Makes the object under its own clock and answers with its id; undoes its own failures. */
  readonly build: () => Promise<string>;
  /** The stage that build() is in, for the error that a different request gets. */
  readonly stage: () => string;
  /** Shows the finished object to clients. */
  readonly publish: (id: string) => void;
  /** Takes a finished object away again. */
  readonly discard: (id: string, reason: DiscardReason) => void;
}

/**
 * Finished objects that may be held at once. A kubelet that was restarted comes back for what it had under
 * way, which at the boot of a node is every pod and container of it; each pod that is held has an address,
 * a veth pair and up to four namespaces.
 */
export const maxUnclaimed = 256;

/** Why a finished object is taken away: nobody came for it in time, or too many others wait, too. */
export type DiscardReason = "nobody came back for it" | "too many others wait for their callers";

interface Entry {
  readonly requestBytes: Uint8Array;
  readonly creation: CreateRequest;
  readonly startedAtMs: number;
  readonly done: Promise<string>;
  waiters: number;
  /** Set once the object is finished and its caller was gone: it waits for the retry. */
  heldId: string | undefined;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Creates that outlive their callers.
 *
 * A kubelet whose request timed out sends it again, byte for byte. Refusing the name while the
 * first try still runs, or leaking what it makes, are the two classic faults; so a create runs
 * under its own clock, an equal request joins it, and a finished object whose caller went away
 * is held, unseen, until the retry comes or the hold time is over. Of more than {@link maxUnclaimed}
 * the one that has been held longest is taken back at once.
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

  /** True while `name` is being made or held. */
  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Names of the finished objects that wait, unseen, for their retry or the end of their hold. */
  unclaimed(): readonly string[] {
    return [...this.#entries].flatMap(([name, { heldId }]) => (heldId === undefined ? [] : [name]));
  }

  /** Lets go of a held object that was removed with what it belongs to: its name is free again. */
  forget(name: string, id: string): void {
    const entry = this.#entries.get(name);
    if (entry?.heldId !== id) return;
    clearTimeout(entry.timer);
    this.#entries.delete(name);
  }

  /**
   * The id of the object that this request asks for: made now, or by an equal request before.
   *
   * Rejects with `failed-precondition` when a different request is making or has made the object
   * of this name, and with the caller's reason when the caller goes away first.
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

  #begin(name: string, requestBytes: Uint8Array, creation: CreateRequest): Entry {
    const { promise: done, resolve, reject } = Promise.withResolvers<string>();
    const entry: Entry = {
      requestBytes,
      creation,
      startedAtMs: this.#clock.nowMs(),
      done,
      waiters: 0,
      heldId: undefined,
      timer: undefined,
    };
    this.#entries.set(name, entry);
    // The failure belongs to whoever waits; when nobody does any more it has been undone and logged.
    done.catch(() => undefined);
    this.#tasks.spawn(`create "${name}"`, async () => {
      try {
        const id = await creation.build();
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
    entry.creation.publish(id);
    return id;
  }

  #keepUnclaimed(name: string, entry: Entry, id: string): void {
    entry.heldId = id;
    entry.timer = setTimeout(() => this.#discard(name, "nobody came back for it"), this.#holdMs);
    entry.timer.unref();
    // Behind those that are held already, however long it took to make.
    this.#entries.delete(name);
    this.#entries.set(name, entry);
    const held = this.unclaimed();
    const [oldest = name] = held;
    if (held.length > maxUnclaimed) this.#discard(oldest, "too many others wait for their callers");
  }

  #discard(name: string, reason: DiscardReason): void {
    const entry = this.#entries.get(name);
    if (entry?.heldId === undefined) return;
    clearTimeout(entry.timer);
    this.#entries.delete(name);
    entry.creation.discard(entry.heldId, reason);
  }

  #checkSame(name: string, entry: Entry, requestBytes: Uint8Array): void {
    if (equalBytes(entry.requestBytes, requestBytes)) return;
    const age = Math.round((this.#clock.nowMs() - entry.startedAtMs) / 1000);
    const what =
      entry.heldId === undefined
        ? `a different request is making it, stage ${entry.creation.stage()}, for ${String(age)} s`
        : `a different request made it ${String(age)} s ago and went away; it is taken back when nobody asks for it within ${String(this.#holdMs / 1000)} s`;
    throw new RuntimeError("failed-precondition", `create "${name}": ${what}; try again`);
  }

  /** Forgets the timers, as at the daemon's end: what is held stays on record. */
  [Symbol.dispose](): void {
    for (const entry of this.#entries.values()) clearTimeout(entry.timer);
  }
}

/**
 * Refuses a name that an object has: `already-exists` naming the id of one that was answered,
 * `unavailable` for one that is unfinished and being taken down.
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
      `${doing} "${name}": ${noun} "${id}" is ${attempt}, remove it or ask with the next attempt`,
    );
  }
  throw new RuntimeError(
    "unavailable",
    `${doing} "${name}": an unfinished ${noun} of this name, "${id}", is being taken down; try again`,
  );
}

/**
 * Builds an object for an operation. A failure takes back what was made, newest first, and is
 * then explained and logged; `onStuck` is told of what could not be taken back in time.
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
