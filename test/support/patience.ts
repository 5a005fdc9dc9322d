/** How long tests wait: deadlines are for an idle machine of usual speed; some are busy, some emulated. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

const given = Number(process.env["DAVIT_TEST_PATIENCE"] ?? 1);
if (!(given >= 1)) throw new Error("DAVIT_TEST_PATIENCE must be a number from 1 upward");

/** More than this would not tell "at once" from "when a time limit of 10 s was over" any more. */
const mostForLoad = 4;

/**
 * A deadline in milliseconds, times DAVIT_TEST_PATIENCE, or times how many runnable threads wait for
 * each CPU where that is more. For deadlines only: what is awaited ends a wait as soon as it is there.
 */
export function patient(ms: number): number {
  const load = readFileSync("/proc/loadavg", "latin1");
  return Math.ceil(ms * Math.max(given, loadFactor(load, availableParallelism())));
}

/** From 1 to 4, by the average of the last minute or what runs now, whichever is more (proc_loadavg(5)). */
export function loadFactor(loadavg: string, cpus: number): number {
  const [minute = "", , , now = ""] = loadavg.split(" ");
  const runnable = Math.max(Number(minute), Number(now.split("/")[0]));
  return Math.min(mostForLoad, Math.max(1, runnable / cpus));
}
