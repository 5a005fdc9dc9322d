import { formatDuration } from "../output/figures.ts";
import { indentedLines, printable } from "../output/printable.ts";
import type { Style } from "../output/terminal.ts";
import {
  type PastOperation,
  type Phase,
  phasesOf,
  type InflightOperation,
} from "../../client/operations.ts";

const barWidth = 32;

/** A past operation: a heading, and a bar for each phase on a common time axis. */
export function formatWaterfall(past: PastOperation, nowMs: number, style: Style): string {
  const lines = linesOf(past, past.error === undefined ? style.green : style.red, style);
  const ago = formatDuration(Math.max(0, nowMs - past.startedMs));
  const took = `${formatMs(past.tookMs)}, ${ago} ago`;
  const outcome = past.error === undefined ? "" : `, ${style.red("failed")}`;
  const error = past.error === undefined ? [] : [`  ${indentedLines(past.error)}`];
  const title = style.bold(nameOf(past));
  return [`${title}  ${took}${outcome}`, ...lines, ...error].map((line) => `${line}\n`).join("");
}

/** The same for an operation in progress. */
export function formatInflight(present: InflightOperation, style: Style): string {
  const title = `${style.bold(nameOf(present))}  ${formatMs(present.tookMs)} so far`;
  return [title, ...linesOf(present, style.yellow, style)].map((line) => `${line}\n`).join("");
}

function nameOf({ operation }: PastOperation): string {
  return printable(operation.replaceAll("-", " "));
}

/** The lines of the phases. `paintLast` colors the bar of the last one. */
function linesOf(
  operation: PastOperation | InflightOperation,
  paintLast: (text: string) => string,
  style: Style,
): readonly string[] {
  const phases = phasesOf(operation).map((phase) => ({ ...phase, name: printable(phase.name) }));
  const width = Math.max(0, ...phases.map(({ name }) => name.length));
  return phases.map((phase, at) => {
    const bar = barOf(phase, operation.tookMs);
    const time = formatMs(phase.toMs - phase.fromMs).padStart(8);
    const paint = at === phases.length - 1 ? paintLast : style.green;
    return `  ${phase.name.padEnd(width)}  ${time}  ${paint(bar)}`;
  });
}

/** Marks are whole milliseconds, so shorter durations are shown as "<1 ms". */
function formatMs(ms: number): string {
  return ms < 1 ? "<1 ms" : ms < 10 ? `${Math.round(ms)} ms` : formatDuration(ms);
}

function barOf({ fromMs, toMs }: Phase, tookMs: number): string {
  const scale = barWidth / Math.max(tookMs, 1);
  const from = Math.min(Math.floor(fromMs * scale), barWidth - 1);
  const to = Math.max(from + 1, Math.min(Math.round(toMs * scale), barWidth));
  const length = toMs - fromMs < 1 ? 1 : to - from;
  return `${" ".repeat(from)}${(toMs - fromMs < 1 ? "|" : "#").repeat(length)}`;
}
