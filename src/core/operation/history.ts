/** A stage that an operation entered, and when. */
export interface StageMark {
  readonly stage: string;
  /** Milliseconds since the operation began. */
  readonly atMs: number;
  /** The item of a stage that is entered several times, for example the name of a plugin. */
  readonly detail?: string;
}

/** What a pull of a layer has received. */
export interface Transfer {
  /** The image for which it was pulled. */
  readonly image: string;
  /** The size of the blob; 0 if it was not received as a whole. */
  readonly bytes: number;
  /** From the begin of the operation to the last byte, in milliseconds. */
  readonly tookMs: number;
}

/** A pod by the names that its client gave it. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A finished operation. */
export interface PastOperation {
  readonly operation: string;
  /** The name or id of its object, as in errors. */
  readonly subject: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly tookMs: number;
  readonly stages: readonly StageMark[];
  /** Why it failed; absent when it succeeded. */
  readonly error?: string;
  /** Of pulls of layers. */
  readonly transfer?: Transfer;
  /** Of pulls of images: the pods that they were for. */
  readonly pods?: readonly PodName[];
}

/** An operation, and the id of its object. */
export interface HistoryEntry {
  readonly object: string;
  readonly past: PastOperation;
}

/** The number of operations that are kept for each object. */
const perObject = 12;

/** The number of failures that are kept for the whole daemon, including those of failed creates. */
const failures = 64;

interface Limits {
  /** Objects with a history. About 2 KB each. */
  readonly objects: number;
  /** Removed objects among them. */
  readonly removed: number;
}

/**
 * The operations on each object, which explain its state. It is in memory and bounded: it has all
 * existing pods and containers of a node, and the most recently removed ones.
 */
export class OperationHistory {
  readonly #limits: Limits;
  #objects = new Map<string, PastOperation[]>();
  #removed = new Map<string, PastOperation[]>();
  #failed: PastOperation[] = [];

  constructor(limits: Limits = { objects: 2_000, removed: 100 }) {
    this.#limits = limits;
  }

  /** Adds an operation to the history of its object. */
  add(object: string, past: PastOperation): void {
    if (past.error !== undefined) {
      this.#failed.push(past);
      if (this.#failed.length > failures) this.#failed.shift();
    }
    if (!explainsState(past)) return;
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

  /** Puts the operations of earlier daemons, oldest first, before those of this one. */
  restore(earlier: readonly HistoryEntry[]): void {
    const all = new OperationHistory(this.#limits);
    for (const { object, past } of earlier) all.add(object, past);
    const failed = [...all.#failed, ...this.#failed];
    for (const [object, list] of [...this.#removed, ...this.#objects]) {
      for (const past of list) all.add(object, past);
    }
    this.#objects = all.#objects;
    this.#removed = all.#removed;
    this.#failed = failed.slice(-failures);
  }

  /** The operations on an object, oldest first. */
  of(object: string): readonly PastOperation[] {
    return this.#objects.get(object) ?? this.#removed.get(object) ?? [];
  }

  /** The last pulls of images and layers, which are kept as long as removed objects; in the order of their ends. */
  pulls(): readonly PastOperation[] {
    const all = [...this.#removed.values()].flat();
    return all
      .filter(({ operation }) => operation.startsWith("pull-"))
      .toSorted((a, b) => a.startedMs + a.tookMs - b.startedMs - b.tookMs);
  }

  /** The last failures of all operations, oldest first. */
  failures(): readonly PastOperation[] {
    return [...this.#failed];
  }
}

/**
 * False for a successful ExecSync or rotation of a log: these happen all the time and do not explain the state of their
 * container.
 */
export function explainsState({ operation, error }: PastOperation): boolean {
  return error !== undefined || (operation !== "exec-sync" && operation !== "reopen-log");
}

/** True for a removal, a failed create, and a pull. Their history is evicted before that of existing objects. */
function leavesNothing({ operation, error }: PastOperation): boolean {
  if (operation.startsWith("pull-")) return true;
  return error === undefined ? operation.startsWith("remove-") : /^(run|create)-/.test(operation);
}

/** Drops the oldest operation that is not part of the create or the start, which explain most. */
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
