import { performance } from "node:perf_hooks";
import { type PullSize, TurnQueue, type WaitingTurn } from "./turn-queue.ts";

/** How many unpackers may exist, and how long one may wait for its registry. */
export interface UnpackTurnsOptions {
  /** Parallel unpackers that have bytes to work on. */
  readonly running: number;
  /** One more runs for a blob of at most so many bytes: a small image is not stuck behind large ones. */
  readonly smallBytes: number;
  /** Unpackers in total, including those that wait for their registry. */
  readonly slots: number;
  /** Slots of these that are reserved for a registry without any. */
  readonly reserved: number;
  /** Slots that one registry may have. */
  readonly perRegistry: number;
  /**
   * How long an unpacker may wait for its registry in total while others are waiting to run. Each byte
   * returns some of it, so that a registry that sends `bytesPerSecond` keeps its turn for a while.
   */
  readonly graceMs: number;
  readonly bytesPerSecond: number;
  /** How much of it bytes can return in total while others are waiting to run. */
  readonly earnableMs: number;
  /** How long a turn is kept before one of a smaller pull, or of one that has waited long, may run instead. */
  readonly turnMs: number;
  /** Who has waited for so long comes first. */
  readonly patienceMs: number;
  /** How long an unpacker may work on the same bytes before others that are waiting run beside it. */
  readonly busyMs: number;
  readonly nowMs: () => number;
}

const defaultTurns: UnpackTurnsOptions = {
  running: 2,
  smallBytes: 4 * 2 ** 20,
  slots: 8,
  reserved: 2,
  perRegistry: 3,
  graceMs: 500,
  bytesPerSecond: 2 ** 20,
  earnableMs: 2000,
  turnMs: 500,
  patienceMs: 10_000,
  busyMs: 10_000,
  nowMs: () => performance.now(),
};

/** What a running unpacker has: one of the turns for any blob, or the one for a small blob. */
type Permit = "any" | "small";

/** Whose turn it is. */
interface Applicant {
  readonly isSmall: boolean;
  readonly pull: PullSize | undefined;
}

/** The blob that an unpacker gets. */
export interface UnpackedBlob {
  /** Unknown, if not given. */
  readonly bytes?: number;
  /** The pull that waits for it. */
  readonly pull?: PullSize | undefined;
}

/** How often turns that run are checked while others are waiting to run. */
const pollMs = 50;

/**
 * Decides which unpackers run. An unpacker needs a core and some 100 MB, so that few run in parallel.
 * One whose registry is slow lets others run and keeps only its slot; there are more slots than running
 * unpackers. No registry can have all slots. Who runs next, and who interrupts a large pull, is up to the
 * {@link TurnQueue} (decision 20).
 */
export class UnpackTurns {
  readonly #options: UnpackTurnsOptions;
  readonly #slots = new Map<string, number>();
  readonly #waiting: TurnQueue<Permit>;
  /** Turns whose unpacker runs. */
  readonly #runs = new Set<UnpackTurn>();
  #slotsTaken = 0;
  #running = 0;
  #runsSmall = false;
  #poll: NodeJS.Timeout | undefined;

  constructor(options: Partial<UnpackTurnsOptions> = {}) {
    this.#options = { ...defaultTurns, ...options };
    this.#waiting = new TurnQueue(this.#options.patienceMs);
  }

  /** The number of unpackers that wait for a turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Waits for a turn of an unpacker that gets this blob from `registry`. `undefined` when no slot
   * is free: then other registries are slow, for an unknown time. Rejects with the
   * signal's reason.
   */
  async take(
    registry: string,
    signal: AbortSignal,
    { bytes = Number.POSITIVE_INFINITY, pull }: UnpackedBlob = {},
  ): Promise<UnpackTurn | undefined> {
    if (!this.#hasSlot(registry)) return undefined;
    const applicant = { isSmall: bytes <= this.#options.smallBytes, pull };
    const permit = await this.#run(signal, "last", applicant);
    if (!this.#hasSlot(registry)) {
      this.#stop(permit);
      return undefined;
    }
    this.#slotsTaken++;
    this.#slots.set(registry, (this.#slots.get(registry) ?? 0) + 1);
    return this.#turn(permit, applicant, () => this.#leave(registry));
  }

  /** Waits for the turn of an unpacker whose bytes are on this node. It needs no slot. */
  async takeForLocal(signal: AbortSignal, pull?: PullSize): Promise<UnpackTurn> {
    const applicant = { isSmall: false, pull };
    const permit = await this.#run(signal, "last", applicant);
    return this.#turn(permit, applicant, () => undefined);
  }

  #turn(permit: Permit, applicant: Applicant, leave: () => void): UnpackTurn {
    return new UnpackTurn(this.#options, permit, {
      run: (again) => this.#run(again, "first", applicant),
      stop: (held) => this.#stop(held),
      runs: this.#runs,
      isWanted: () => this.#waiting.length > 0,
      isOvertaken: () => this.#waiting.overtakes(applicant.pull, this.#options.nowMs()),
      leave,
    });
  }

  #hasSlot(registry: string): boolean {
    const { slots, reserved, perRegistry } = this.#options;
    const held = this.#slots.get(registry) ?? 0;
    if (held === 0) return this.#slotsTaken < slots;
    return held < perRegistry && this.#slotsTaken < slots - reserved;
  }

  async #run(
    signal: AbortSignal,
    where: "first" | "last",
    { isSmall, pull }: Applicant,
  ): Promise<Permit> {
    signal.throwIfAborted();
    if (this.#running < this.#options.running) {
      this.#running++;
      return "any";
    }
    if (isSmall && !this.#runsSmall) {
      this.#runsSmall = true;
      return "small";
    }
    const { promise, resolve, reject } = Promise.withResolvers<Permit>();
    const sinceMs = this.#options.nowMs();
    const waiting: WaitingTurn<Permit> = { enter: resolve, isSmall, pull, sinceMs };
    const onAbort = (): void => {
      // The turn was granted first; its user handles the abort.
      if (!this.#waiting.remove(waiting)) return;
      this.#stopPollingIfIdle();
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiting.add(waiting, where);
    this.#poll ??= setInterval(() => this.#hurryAll(), pollMs).unref();
    this.#hurryAll();
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #stop(permit: Permit): void {
    const mayEnter = ({ isSmall }: WaitingTurn<Permit>): boolean => permit === "any" || isSmall;
    const next = this.#waiting.next(this.#options.nowMs(), mayEnter);
    this.#stopPollingIfIdle();
    if (next !== undefined) next.enter(permit);
    else if (permit === "any") this.#running--;
    else this.#runsSmall = false;
  }

  #hurryAll(): void {
    for (const turn of [...this.#runs]) turn.hurry();
  }

  #stopPollingIfIdle(): void {
    if (this.#waiting.length > 0) return;
    clearInterval(this.#poll);
    this.#poll = undefined;
  }

  #leave(registry: string): void {
    this.#slotsTaken--;
    const held = this.#slots.get(registry) ?? 1;
    if (held > 1) this.#slots.set(registry, held - 1);
    else this.#slots.delete(registry);
  }
}

/** What a turn needs of the UnpackTurns. */
interface TurnHooks {
  readonly run: (signal: AbortSignal) => Promise<Permit>;
  readonly stop: (permit: Permit) => void;
  readonly runs: Set<UnpackTurn>;
  readonly isWanted: () => boolean;
  readonly isOvertaken: () => boolean;
  readonly leave: () => void;
}

/** The slot of an unpacker and, while it has bytes to work on, its turn to run. Disposing releases both. */
export class UnpackTurn implements Disposable {
  readonly #options: UnpackTurnsOptions;
  readonly #hooks: TurnHooks;
  /** `undefined` while others run instead. */
  #permit: Permit | undefined;
  #left = false;
  /** How long it may still wait before others run. */
  #graceMs: number;
  #earnableMs: number;
  #idleSince: number | undefined;
  #runsSince: number;
  /** When it got its last bytes. */
  #busySince: number;

  /** Of {@link UnpackTurns.take} only. */
  constructor(options: UnpackTurnsOptions, permit: Permit, hooks: TurnHooks) {
    this.#options = options;
    this.#permit = permit;
    this.#hooks = hooks;
    this.#graceMs = options.graceMs;
    this.#earnableMs = options.earnableMs;
    this.#runsSince = options.nowMs();
    this.#busySince = this.#runsSince;
    hooks.runs.add(this);
  }

  /** Its unpacker has no bytes, and waits for the registry. */
  idle(): void {
    this.#idleSince = this.#options.nowMs();
    this.hurry();
  }

  /** Bytes have arrived. `undefined` when it still runs, else what to wait for before they are used. */
  busy(bytes: number, signal: AbortSignal): Promise<void> | undefined {
    const now = this.#options.nowMs();
    const waitedMs = now - (this.#idleSince ?? now);
    this.#graceMs = Math.max(0, this.#graceMs - waitedMs);
    this.#earn(bytes);
    this.#idleSince = undefined;
    this.#busySince = now;
    // A large pull lets a smaller one run between two chunks.
    const isOver = now - this.#runsSince >= this.#options.turnMs;
    if (isOver && this.#hooks.isOvertaken()) this.#release();
    return this.#permit === undefined ? this.#runAgain(signal) : undefined;
  }

  /** While others wait, the returned time is limited: a steady trickle would keep them waiting. */
  #earn(bytes: number): void {
    const { graceMs, bytesPerSecond, earnableMs } = this.#options;
    const worthMs = (bytes * 1000) / bytesPerSecond;
    if (!this.#hooks.isWanted()) {
      this.#graceMs = Math.min(graceMs, this.#graceMs + worthMs);
      this.#earnableMs = earnableMs;
      return;
    }
    const earnedMs = Math.min(worthMs, graceMs - this.#graceMs, this.#earnableMs);
    this.#graceMs += earnedMs;
    this.#earnableMs -= earnedMs;
  }

  /**
   * Lets others run once it has waited for its grace period. Also once it is busy with the same bytes for long: a blob
   * of a few bytes could keep others waiting for as long as its unpacker may make no progress.
   */
  hurry(): void {
    if (this.#permit === undefined || !this.#hooks.isWanted()) return;
    const [since, mostMs] =
      this.#idleSince === undefined
        ? [this.#busySince, this.#options.busyMs]
        : [this.#idleSince, this.#graceMs];
    if (this.#options.nowMs() - since >= mostMs) this.#release();
  }

  [Symbol.dispose](): void {
    if (this.#left) return;
    this.#left = true;
    this.#release();
    this.#hooks.leave();
  }

  #release(): void {
    const permit = this.#permit;
    this.#permit = undefined;
    this.#hooks.runs.delete(this);
    if (permit !== undefined) this.#hooks.stop(permit);
  }

  async #runAgain(signal: AbortSignal): Promise<void> {
    const permit = await this.#hooks.run(signal);
    if (this.#left) {
      this.#hooks.stop(permit);
      return;
    }
    this.#permit = permit;
    this.#hooks.runs.add(this);
    this.#runsSince = this.#options.nowMs();
    this.#busySince = this.#runsSince;
  }
}
