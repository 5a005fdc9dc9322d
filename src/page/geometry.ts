// Where the bars of the waterfalls are: pure functions, in milliseconds and percent.
import type { OperationView, PhaseView, StartView } from "./view.ts";

/** A bar on an axis, in percent of its width. */
export interface Bar {
  readonly left: number;
  readonly width: number;
}

/** A phase with its bar. */
export interface PhaseBar extends Bar {
  readonly phase: PhaseView;
  /** The phase in which its operation failed. */
  readonly failed: boolean;
}

/** A time in which the server had no operation of the pod: its client pulled images, or waited. */
export interface Gap {
  /** On the axis, in milliseconds. */
  readonly atMs: number;
  readonly lengthMs: number;
  /** The real length. */
  readonly tookMs: number;
}

/** An operation on the axis of its start. */
export interface PlacedOperation {
  readonly operation: OperationView;
  readonly fromMs: number;
}

/** A start on an axis that cuts long gaps. */
export interface Layout {
  readonly operations: readonly PlacedOperation[];
  readonly gaps: readonly Gap[];
  readonly lengthMs: number;
}

/** A longer gap is drawn as one of this length: the time of an image pull would hide all others. */
const shownGapMs = 30;
/** The narrowest bar, in percent: a phase of less than a millisecond is still seen. */
const minWidth = 0.35;

/** Lays out the operations of a start on an axis in the order of their times, with long gaps cut. */
export function layoutOf({ operations }: Pick<StartView, "operations">): Layout {
  const sorted = operations.toSorted((a, b) => a.startedMs - b.startedMs);
  const placed: PlacedOperation[] = [];
  const gaps: Gap[] = [];
  let cutMs = sorted[0]?.startedMs ?? 0;
  let endMs = 0;
  for (const operation of sorted) {
    const fromMs = operation.startedMs - cutMs;
    const tookMs = fromMs - endMs;
    if (tookMs > shownGapMs) {
      gaps.push({ atMs: endMs, lengthMs: shownGapMs, tookMs });
      cutMs += tookMs - shownGapMs;
    }
    const at = operation.startedMs - cutMs;
    placed.push({ operation, fromMs: at });
    endMs = Math.max(endMs, at + operation.tookMs);
  }
  return { operations: placed, gaps, lengthMs: endMs };
}

/** The bars of an operation that begins at `fromMs` of an axis of `axisMs`. */
export function barsOf(
  operation: OperationView,
  fromMs: number,
  axisMs: number,
): readonly PhaseBar[] {
  const { phases, error } = operation;
  return phases.map((phase, at) => ({
    phase,
    failed: error !== undefined && at === phases.length - 1,
    ...barOf(fromMs + phase.fromMs, fromMs + phase.toMs, axisMs),
  }));
}

/**
 * The length of an axis that all these starts have. A few that are far longer than the others are cut off:
 * otherwise one start of a minute would hide where all others spent their time.
 */
export function commonAxis(lengthsMs: readonly number[]): number {
  const sorted = lengthsMs.toSorted((a, b) => a - b);
  const most = sorted[Math.ceil(sorted.length * 0.8) - 1] ?? 1;
  const longest = sorted.at(-1) ?? 1;
  return Math.max(1, Math.min(longest, most * 3));
}

/** A bar from one time to another. It ends on the axis, and is wide enough to be seen. */
export function barOf(fromMs: number, toMs: number, axisMs: number): Bar {
  const percent = (ms: number): number => Math.min(ms / Math.max(axisMs, 1), 1) * 100;
  const width = Math.min(100, Math.max(minWidth, percent(toMs) - percent(fromMs)));
  const left = Math.max(0, Math.min(percent(fromMs), 100 - width));
  return { left, width };
}

/** Round times from 0 to the end of an axis, at most `count` after the 0. */
export function ticksOf(axisMs: number, count = 5): readonly number[] {
  const rough = Math.max(axisMs, 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const ticks: number[] = [];
  for (let n = 0; n * step <= axisMs; n += 1) ticks.push(n * step);
  return ticks;
}

/** The height of a duration on a logarithmic scale from 10 ms to 60 s, in percent. */
export function heightOf(tookMs: number): number {
  const [low, high] = [Math.log10(10), Math.log10(60_000)];
  const share = (Math.log10(Math.max(10, tookMs)) - low) / (high - low);
  return Math.min(100, Math.max(3, share * 100));
}

/** The times of the clock between two times, at full steps of so many minutes. */
export function clockTicks(fromMs: number, toMs: number, minutes: number): readonly number[] {
  const step = minutes * 60_000;
  const ticks: number[] = [];
  for (let at = Math.ceil(fromMs / step) * step; at <= toMs; at += step) ticks.push(at);
  return ticks;
}
