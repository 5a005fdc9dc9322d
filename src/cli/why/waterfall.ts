import { formatDuration } from "../output/figures.ts";
import type { Style } from "../output/terminal.ts";
import { type Past, type Phase, phasesOf } from "./past.ts";

const barWidth = 32;

/** An operation as a heading and a bar for each of its phases, on the time axis of the whole. */
export function formatWaterfall(past: Past, nowMs: number, style: Style): string {
  const phases = phasesOf(past);
  const width = Math.max(0, ...phases.map(({ name }) => name.length));
  const lines = phases.map((phase, at) => {
    const failed = past.error !== undefined && at === phases.length - 1;
    const bar = barOf(phase, past.tookMs);
    const time = formatMs(phase.toMs - phase.fromMs).padStart(8);
    return `  ${phase.name.padEnd(width)}  ${time}  ${failed ? style.red(bar) : style.green(bar)}`;
  });
  const ago = formatDuration(Math.max(0, nowMs - past.startedMs));
  const took = `${formatMs(past.tookMs)}, ${ago} ago`;
  const outcome = past.error === undefined ? "" : `, ${style.red("failed")}`;
  const error = past.error === undefined ? [] : [`  ${past.error}`];
  const title = style.bold(past.operation.replaceAll("-", " "));
  return [`${title}  ${took}${outcome}`, ...lines, ...error].map((line) => `${line}\n`).join("");
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
