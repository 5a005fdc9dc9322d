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
  readonly toMs: number;
  /** The place on the axis of a time since the begin of the operation. */
  readonly at: (ms: number) => number;
}

/** A start on an axis that cuts long gaps. */
export interface Layout {
  readonly operations: readonly PlacedOperation[];
  /** Times of the client alone, of a fixed length. */
  readonly gaps: readonly Gap[];
  /** Times of a pull alone that are drawn shorter than they were. */
  readonly squeezed: readonly Gap[];
  readonly lengthMs: number;
}

/** What a pull alone takes is drawn with this length at most, for the same reason. */
const shownPullMs = 150;
/** A longer gap is drawn as one of this length: the time of an image pull would hide all others. */
const shownGapMs = 30;
/** The narrowest bar, in percent: a phase of less than a millisecond is still seen. */
const minWidth = 0.35;

/** A part of the real time, and the part of the axis that shows it. */
interface Segment {
  readonly fromMs: number;
  readonly toMs: number;
  readonly atMs: number;
  readonly lengthMs: number;
  readonly kind: "work" | "pull" | "client";
}

/**
 * Lays out the operations of a start on an axis in the order of their times. The time of the client is cut where it was
 * long, and the time in which there is only a pull is drawn to a smaller scale. A pull of its own has its own scale.
 */
export function layoutOf({ operations, kind = "start" }: Part): Layout {
  const sorted = operations.toSorted((a, b) => a.startedMs - b.startedMs);
  const segments = segmentsOf(sorted, kind === "start");
  const place = (ms: number): number => {
    const segment = segments.find(({ toMs }) => ms <= toMs) ?? segments.at(-1);
    if (segment === undefined) return 0;
    const { fromMs, toMs, atMs, lengthMs } = segment;
    return atMs + (toMs === fromMs ? 0 : ((ms - fromMs) / (toMs - fromMs)) * lengthMs);
  };
  const cut = (which: Segment["kind"]): readonly Gap[] =>
    segments.flatMap(({ kind: its, fromMs, toMs, atMs, lengthMs }) =>
      its === which && lengthMs < toMs - fromMs ? [{ atMs, lengthMs, tookMs: toMs - fromMs }] : [],
    );
  const last = segments.at(-1);
  return {
    operations: sorted.map((operation) => {
      const { startedMs, tookMs } = operation;
      const at = (ms: number): number => place(startedMs + ms);
      return { operation, fromMs: startOf(operation, segments), toMs: at(tookMs), at };
    }),
    gaps: cut("client"),
    squeezed: cut("pull"),
    lengthMs: last === undefined ? 0 : last.atMs + last.lengthMs,
  };
}

type Part = Pick<StartView, "operations"> & Partial<Pick<StartView, "kind">>;

/** An operation begins after a gap that ends when it does, and not before it. */
function startOf({ startedMs }: OperationView, segments: readonly Segment[]): number {
  const segment = segments.findLast(({ fromMs }) => fromMs <= startedMs);
  if (segment === undefined) return 0;
  const { fromMs, toMs, atMs, lengthMs } = segment;
  return atMs + (toMs === fromMs ? 0 : ((startedMs - fromMs) / (toMs - fromMs)) * lengthMs);
}

/** The time from the first operation to the end of the last one, by what happened in it. */
function segmentsOf(
  operations: readonly OperationView[],
  squeezesPulls: boolean,
): readonly Segment[] {
  const ends = operations.flatMap(({ startedMs, tookMs }) => [startedMs, startedMs + tookMs]);
  const times = [...new Set(ends)].toSorted((a, b) => a - b);
  const segments: Segment[] = [];
  for (const [index, fromMs] of times.entries()) {
    const toMs = times[index + 1] ?? fromMs;
    const within = operations.filter(
      ({ startedMs, tookMs }) => startedMs <= fromMs && startedMs + tookMs >= toMs && tookMs > 0,
    );
    const kind =
      within.length === 0
        ? "client"
        : squeezesPulls && within.every(({ operation }) => operation.startsWith("pull-"))
          ? "pull"
          : "work";
    const last = segments.at(-1);
    if (last?.kind === kind) segments[segments.length - 1] = { ...last, toMs };
    else segments.push({ fromMs, toMs, kind, atMs: 0, lengthMs: 0 });
  }
  return placed(segments);
}

function placed(segments: readonly Segment[]): readonly Segment[] {
  let atMs = 0;
  return segments.map((segment) => {
    const tookMs = segment.toMs - segment.fromMs;
    const most = { client: shownGapMs, pull: shownPullMs, work: tookMs }[segment.kind];
    const lengthMs = Math.min(tookMs, most);
    atMs += lengthMs;
    return { ...segment, atMs: atMs - lengthMs, lengthMs };
  });
}

/** The bars of an operation whose times are at these places of an axis of `axisMs`. */
export function barsOf(
  operation: OperationView,
  at: (ms: number) => number,
  axisMs: number,
): readonly PhaseBar[] {
  const { phases, error } = operation;
  return phases.map((phase, index) => ({
    phase,
    failed: error !== undefined && index === phases.length - 1,
    ...barOf(at(phase.fromMs), at(phase.toMs), axisMs),
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
