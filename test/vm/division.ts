/** Divides test files among guests that run side by side. */
import type { Verdicts } from "./results.ts";

/** What a file takes whose time is not known. */
const unknownSeconds = 40;

/**
 * At most `guests` lists of about the same time, by the times of the last run: the longest file first, each to
 * the guest that has the least to do.
 */
export function divide(
  files: readonly string[],
  guests: number,
  verdicts: Verdicts,
): readonly (readonly string[])[] {
  const timed = files.map((name) => ({ name, seconds: secondsOf(name, verdicts) }));
  const lists = Array.from({ length: guests }, () => ({ seconds: 0, names: [] as string[] }));
  for (const { name, seconds } of timed.sort((a, b) => b.seconds - a.seconds)) {
    const least = lists.reduce((one, other) => (other.seconds < one.seconds ? other : one));
    least.names.push(name);
    least.seconds += seconds;
  }
  return lists.map(({ names }) => names).filter((names) => names.length > 0);
}

/** A file and its variants, which run in the same guest. */
function secondsOf(file: string, verdicts: Verdicts): number {
  const runs = Object.entries(verdicts).filter(
    ([name]) => name === file || name.startsWith(`${file} (`),
  );
  const times = runs.map(([, { cgroupfs }]) => cgroupfs?.seconds ?? unknownSeconds);
  return times.length === 0 ? unknownSeconds : times.reduce((sum, time) => sum + time, 0);
}
