import { formatDuration } from "../output/figures.ts";
import type { Style } from "../output/terminal.ts";
import { type Past, type Phase, phasesOf, type Present } from "./past.ts";

const barWidth = 32;

/** An operation as a heading and a bar for each of its phases, on the time axis of the whole. */
export function formatWaterfall(past: Past, nowMs: number, style: Style): string {
  const lines = linesOf(past, past.error === undefined ? style.green : style.red, style);
  const ago = formatDuration(Math.max(0, nowMs - past.startedMs));
  const took = `${formatMs(past.tookMs)}, ${ago} ago`;
  const outcome = past.error === undefined ? "" : `, ${style.red("failed")}`;
  const error = past.error === undefined ? [] : [`  ${past.error}`];
  const title = style.bold(past.operation.replaceAll("-", " "));
  return [`${title}  ${took}${outcome}`, ...lines, ...error].map((line) => `${line}\n`).join("");
}

/** The same for an operation under way: how long it runs, and where it is now. */
export function formatPresent(present: Present, style: Style): string {
  const title = `${style.bold(present.operation.replaceAll("-", " "))}  ${formatMs(present.tookMs)} so far`;
  return [title, ...linesOf(present, style.yellow, style)].map((line) => `${line}\n`).join("");
}

/** `paintLast` marks the bar of the last phase. */
function linesOf(
  operation: Past | Present,
  paintLast: (text: string) => string,
  style: Style,
): readonly string[] {
  const phases = phasesOf(operation);
  const width = Math.max(0, ...phases.map(({ name }) => name.length));
  return phases.map((phase, at) => {
    const bar = barOf(phase, operation.tookMs);
    const time = formatMs(phase.toMs - phase.fromMs).padStart(8);
    const paint = at === phases.length - 1 ? paintLast : style.green;
    return `  ${phase.name.padEnd(width)}  ${time}  ${paint(bar)}`;
  });
}

/** davit's marks are whole milliseconds: what is below one is shown as that. */
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
