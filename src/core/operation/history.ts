/** A stage that an operation went through, with when it began. */
export interface StageMark {
  readonly stage: string;
  /** Milliseconds since the operation began. */
  readonly atMs: number;
  /** What of several it was done to or by, as a plugin's name. */
  readonly detail?: string;
}

/** An operation that is over. */
export interface PastOperation {
  readonly operation: string;
  /** The name or id that errors have for what it worked on. */
  readonly subject: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly tookMs: number;
  readonly stages: readonly StageMark[];
  /** Why it failed; absent when it did not. */
  readonly error?: string;
}

/** Of each object so many operations are kept; of a stop that is tried forever only the last. */
const perObject = 12;

/** Failures of the whole daemon that are kept, also those of objects that never came to be. */
const failures = 64;

interface Limits {
  /** Objects of which something is known. About 2 KB each. */
  readonly objects: number;
  /** Of those, the ones that were removed. */
  readonly removed: number;
}

/**
 * What was done to each object, for the person who asks why it is as it is. In memory and bounded:
 * of a node's pods and containers everything is there, of removed ones the newest; a daemon that was
 * started again knows nothing of what its predecessor did.
 */
export class OperationHistory {
  readonly #limits: Limits;
  readonly #objects = new Map<string, PastOperation[]>();
  readonly #removed = new Map<string, PastOperation[]>();
  readonly #failed: PastOperation[] = [];

  constructor(limits: Limits = { objects: 2_000, removed: 100 }) {
    this.#limits = limits;
  }

  /** Keeps an operation under the id of the object that it worked on. */
  add(object: string, past: PastOperation): void {
    if (past.error !== undefined) {
      this.#failed.push(past);
      if (this.#failed.length > failures) this.#failed.shift();
    }
    // Probes run forever and say nothing of how their container came to be.
    if (past.operation === "exec-sync" && past.error === undefined) return;
    const list = this.#objects.get(object) ?? this.#removed.get(object) ?? [];
    list.push(past);
    if (list.length > perObject) dropOne(list);
    const isRemoval = this.#removed.has(object) || leavesNothing(past);
    const [to, from] = isRemoval ? [this.#removed, this.#objects] : [this.#objects, this.#removed];
    from.delete(object);
    to.set(object, list);
    evict(this.#removed, this.#limits.removed);
    evict(this.#objects, this.#limits.objects);
  }

  /** What was done to an object, oldest first. */
  of(object: string): readonly PastOperation[] {
    return this.#objects.get(object) ?? this.#removed.get(object) ?? [];
  }

  /** The last failures of all operations, oldest first. */
  failures(): readonly PastOperation[] {
    return [...this.#failed];
  }
}

/** What is gone, or never came to be, or is no object of its own: forgotten before what is there. */
function leavesNothing({ operation, error }: PastOperation): boolean {
  if (operation.startsWith("pull-")) return true;
  return error === undefined ? operation.startsWith("remove-") : /^(run|create)-/.test(operation);
}

/** How an object came to be is what people ask for most: what came after it goes first. */
function dropOne(list: PastOperation[]): void {
  const at = list.findIndex(({ operation }) => !/^(run|create|start)-/.test(operation));
  list.splice(Math.max(at, 0), 1);
}

function evict(objects: Map<string, unknown>, limit: number): void {
  for (const oldest of objects.keys()) {
    if (objects.size <= limit) return;
    objects.delete(oldest);
  }
}
