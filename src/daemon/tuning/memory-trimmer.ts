/** What a {@link MemoryTrimmer} knows about the process, and how it gives memory back. */
export interface MemoryTrimmerParts {
  /** Resident memory of the process. */
  readonly residentBytes: () => number;
  /** The share of processor time since the last call. */
  readonly utilization: () => number;
  /** Whether a call is running. */
  readonly isBusy: () => boolean;
  /** Gives unused memory back to the kernel. Blocks the event loop for a few milliseconds. */
  readonly release: () => void;
  readonly nowMs: () => number;
}

/** What a decision is based on. */
export interface Moment {
  /** Growth since the first call after memory was given back. */
  readonly grownBytes: number;
  /** Time since memory was given back. */
  readonly sinceMs: number;
  /** Since the last check. */
  readonly utilization: number;
  readonly isBusy: boolean;
}

const mebibyte = 1024 * 1024;
/** Less is not worth it: that much is needed again as soon as there is work. */
const worthwhileBytes = 12 * mebibyte;
/** Time between two checks, and so the shortest idle time. */
export const checkIntervalMs = 1_000;
/**
 * Between two releases. A pod that starts after a release has 200 more minor faults, which are not measurable in its
 * time, so this only bounds how often a node with regular work pays the millisecond of the release.
 */
const pauseMs = 5_000;
/** A kubelet that only polls, with a hundred pods, causes less. */
const idleUtilization = 0.05;

/** Whether to give memory back, to check again later, or to do nothing until the next call. */
export function decide(moment: Moment): "release" | "later" | "nothing" {
  if (moment.grownBytes < worthwhileBytes) return "nothing";
  const isIdle = !moment.isBusy && moment.utilization < idleUtilization;
  return isIdle && moment.sinceMs >= pauseMs ? "release" : "later";
}

/**
 * Gives memory back after much work: V8 shrinks its own heap, but malloc keeps freed memory, and pages
 * of Node.js's code stay mapped. It has a timer only after work.
 */
export class MemoryTrimmer implements Disposable {
  readonly #parts: MemoryTrimmerParts;
  /** At the first call; undefined before. */
  #residentBytes: number | undefined;
  #releasedMs: number;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(parts: MemoryTrimmerParts) {
    this.#parts = parts;
    this.#releasedMs = parts.nowMs();
  }

  /** A call has ended. */
  worked(): void {
    if (this.#timer !== undefined || this.#isOver) return;
    this.#residentBytes ??= this.#parts.residentBytes();
    this.#parts.utilization();
    this.#checkLater();
  }

  /** Stops the checks. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #checkLater(): void {
    this.#timer = setTimeout(() => {
      this.#check();
    }, checkIntervalMs).unref();
  }

  #check(): void {
    const { residentBytes, utilization, isBusy, release, nowMs } = this.#parts;
    this.#timer = undefined;
    const decision = decide({
      grownBytes: residentBytes() - (this.#residentBytes ?? 0),
      sinceMs: nowMs() - this.#releasedMs,
      utilization: utilization(),
      isBusy: isBusy(),
    });
    if (decision === "later") this.#checkLater();
    if (decision !== "release") return;
    release();
    this.#residentBytes = undefined;
    this.#releasedMs = nowMs();
  }
}
