/** Timeouts of tests. They are meant for an idle machine, and are longer on a busy or emulated one. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

const given = Number(process.env["DAVIT_TEST_PATIENCE"] ?? 1);
if (!(given >= 1)) throw new Error("DAVIT_TEST_PATIENCE must be a number from 1 upward");

/** With a larger factor, "immediately" could not be distinguished from "after a time limit of 10 s". */
const mostForLoad = 4;

/**
 * A deadline in milliseconds, multiplied by DAVIT_TEST_PATIENCE or by the number of runnable threads for each CPU,
 * whichever is more. It makes no test slower: a wait ends as soon as its condition is true.
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
