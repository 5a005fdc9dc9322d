import { readdir, readFile, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

import { processStartTime } from "./process-ref.ts";

// A command line lies in the process's memory, whose lock a process that hangs in the kernel may hold.
const readMs = 1_000;

/** A process that was found by its command line. */
export interface FoundProcess {
  readonly pid: number;
  /** In clock ticks since boot (proc_pid_stat(5)), as text. */
  readonly startTime: string;
  readonly args: readonly string[];
}

/**
 * The processes whose command lines are wanted, of those that have our root folder: a container's
 * process can have whatever command line it likes, but not that. One that does not answer within a
 * second is left out.
 */
export async function findByCommandLine(
  isWanted: (args: readonly string[]) => boolean,
): Promise<readonly FoundProcess[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const root = await rootOf("self");
  const look = async (pid: number): Promise<readonly FoundProcess[]> => {
    const args = (await commandLineOf(pid)).split("\0");
    if (!isWanted(args)) return [];
    const startTime = processStartTime(pid);
    if (startTime === undefined || (await rootOf(String(pid))) !== root) return [];
    return [{ pid, startTime: String(startTime), args }];
  };
  return (await Promise.all(pids.map(look))).flat();
}

/** "" for a process that is gone, or that does not answer. */
async function commandLineOf(pid: number): Promise<string> {
  const timer = new AbortController();
  const late = delay(readMs, "", { signal: timer.signal, ref: false }).catch(() => "");
  const read = readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
  try {
    return await Promise.race([read, late]);
  } finally {
    timer.abort();
  }
}

/** What the process has for its root folder, whatever its mount namespace (proc_pid_root(5)). */
async function rootOf(pid: string): Promise<string> {
  try {
    const { dev, ino } = await stat(`/proc/${pid}/root`, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return "gone";
  }
}
