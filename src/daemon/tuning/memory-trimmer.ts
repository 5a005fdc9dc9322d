/** What a {@link MemoryTrimmer} knows of the process, and does with it. */
export interface MemoryTrimmerParts {
  /** Memory of the process that is in RAM now. */
  readonly residentBytes: () => number;
  /** The share of the time since it was asked last in which the process computed. */
  readonly utilization: () => number;
  /** Whether somebody waits for an answer now. */
  readonly isBusy: () => boolean;
  /** Gives back what nobody uses. Blocks the event loop for a few milliseconds. */
  readonly release: () => void;
  readonly nowMs: () => number;
}

/** A moment in the life of the process, as far as its memory is concerned. */
export interface Moment {
  /** What it has grown by since the first work after memory was given back. */
  readonly grownBytes: number;
  /** How long ago memory was given back. */
  readonly sinceMs: number;
  /** Since the last look. */
  readonly utilization: number;
  readonly isBusy: boolean;
}

const mebibyte = 1024 * 1024;
/** Less is not worth it: so much comes back as soon as there is work again. */
const worthwhileBytes = 24 * mebibyte;
/** Between two looks, and so also how long a rest must have lasted. */
export const checkIntervalMs = 10_000;
/** A node that has something to do now and then is not to pay for it each time. */
const pauseMs = 60_000;
/** A kubelet that only looks, at a hundred pods, takes less. */
const restUtilization = 0.05;

/** What is to be done at such a moment: give memory back, look again later, or nothing until there was work. */
export function decide(moment: Moment): "release" | "later" | "nothing" {
  if (moment.grownBytes < worthwhileBytes) return "nothing";
  const isResting = !moment.isBusy && moment.utilization < restUtilization;
  return isResting && moment.sinceMs >= pauseMs ? "release" : "later";
}

/**
 * Gives memory back when much work is over: V8 shrinks its heap by itself, but malloc keeps what was
 * freed, and pages of Node.js's own code stay mapped. Has a timer only after work.
 */
export class MemoryTrimmer implements Disposable {
  readonly #parts: MemoryTrimmerParts;
  /** At the first work; undefined before that. */
  #residentBytes: number | undefined;
  #releasedMs: number;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(parts: MemoryTrimmerParts) {
    this.#parts = parts;
    this.#releasedMs = parts.nowMs();
  }

  /** There was some work. Costs next to nothing. */
  worked(): void {
    if (this.#timer !== undefined || this.#isOver) return;
    this.#residentBytes ??= this.#parts.residentBytes();
    this.#parts.utilization();
    this.#lookLater();
  }

  /** No more looks. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #lookLater(): void {
    this.#timer = setTimeout(() => {
      this.#look();
    }, checkIntervalMs).unref();
  }

  #look(): void {
    const { residentBytes, utilization, isBusy, release, nowMs } = this.#parts;
    this.#timer = undefined;
    const decision = decide({
      grownBytes: residentBytes() - (this.#residentBytes ?? 0),
      sinceMs: nowMs() - this.#releasedMs,
      utilization: utilization(),
      isBusy: isBusy(),
    });
    if (decision === "later") this.#lookLater();
    if (decision !== "release") return;
    release();
    this.#residentBytes = undefined;
    this.#releasedMs = nowMs();
  }
}
