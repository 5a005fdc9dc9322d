import { readdir, readFile, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

import { processStartTime } from "./process-ref.ts";

// They lie in the process's memory, whose lock a process that hangs in the kernel may hold.
const readMs = 1_000;
/** Reads under way: one that hangs keeps a thread of the pool, and must not have another at each look. */
const reads = new Map<string, Promise<string>>();

/** A process that was found by its command line. */
export interface FoundProcess {
  readonly pid: number;
  /** In clock ticks since boot (proc_pid_stat(5)), as text. */
  readonly startTime: string;
  readonly args: readonly string[];
}

/**
 * The processes whose command lines are wanted, of those that have our root directory: a container's
 * process can have whatever command line it likes, but not that. One that does not answer within a
 * second is left out.
 */
export async function findByCommandLine(
  isWanted: (args: readonly string[]) => boolean,
): Promise<readonly FoundProcess[]> {
  const pids = await allPids();
  const root = await rootOf("self");
  const look = async (pid: number): Promise<readonly FoundProcess[]> => {
    const args = await wordsOf(pid, "cmdline");
    if (!isWanted(args)) return [];
    const startTime = processStartTime(pid);
    if (startTime === undefined || (await rootOf(String(pid))) !== root) return [];
    return [{ pid, startTime: String(startTime), args }];
  };
  return (await Promise.all(pids.map(look))).flat();
}

/**
 * The processes that were started with an environment variable whose value is wanted, whatever became
 * of their parents, session, cgroup or root directory; this one is not looked at. One that does not
 * answer within a second is left out, and so is one that has overwritten its environment.
 */
export async function findByEnvironment(
  name: string,
  isWanted: (value: string) => boolean,
): Promise<readonly Omit<FoundProcess, "args">[]> {
  const look = async (pid: number): Promise<readonly Omit<FoundProcess, "args">[]> => {
    const value = await environmentOf(pid, name);
    const startTime = value !== undefined && isWanted(value) ? processStartTime(pid) : undefined;
    return startTime === undefined ? [] : [{ pid, startTime: String(startTime) }];
  };
  const others = (await allPids()).filter((pid) => pid !== process.pid);
  return (await Promise.all(others.map(look))).flat();
}

/** What a process was started with; undefined where it was without, is gone, or does not answer. */
export async function environmentOf(pid: number, name: string): Promise<string | undefined> {
  const entry = (await wordsOf(pid, "environ")).find((word) => word.startsWith(`${name}=`));
  return entry?.slice(name.length + 1);
}

async function allPids(): Promise<readonly number[]> {
  return (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** None for a process that is gone, or that does not answer. */
async function wordsOf(pid: number, file: "cmdline" | "environ"): Promise<readonly string[]> {
  const timer = new AbortController();
  const late = delay(readMs, "", { signal: timer.signal, ref: false }).catch(() => "");
  try {
    return (await Promise.race([readOnce(`/proc/${pid}/${file}`), late])).split("\0");
  } finally {
    timer.abort();
  }
}

/** "" for a process that is gone. */
function readOnce(path: string): Promise<string> {
  let read = reads.get(path);
  if (read === undefined) {
    read = readFile(path, "latin1")
      .catch(() => "")
      .finally(() => reads.delete(path));
    reads.set(path, read);
  }
  return read;
}

/** What the process has for its root directory, whatever its mount namespace (proc_pid_root(5)). */
async function rootOf(pid: string): Promise<string> {
  try {
    const { dev, ino } = await stat(`/proc/${pid}/root`, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return "gone";
  }
}
