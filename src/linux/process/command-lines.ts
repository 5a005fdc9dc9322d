import { readdir, readFile, stat } from "node:fs/promises";

import { valueWithin } from "../../base/wait.ts";
import { readWords } from "../file/index.ts";
import { processStartTime } from "./process-ref.ts";

// Command line and environment are in the process's memory. A process that hangs in the kernel may hold its lock.
const readMs = 1_000;
/** Reads in progress. One that hangs occupies a thread of the pool, so it must not be started again. */
const reads = new Map<string, Promise<string>>();

let isReading = false;

/** A process that was found by its command line. */
export interface FoundProcess {
  readonly pid: number;
  /** In clock ticks since boot (proc_pid_stat(5)), as text. */
  readonly startTime: string;
  readonly args: readonly string[];
}

/**
 * The processes with a wanted command line that have the same root directory as this process. A container's
 * process can choose its command line, but not that root. A process whose command line cannot be read within a
 * second is left out.
 */
export async function findByCommandLine(
  isWanted: (args: readonly string[]) => boolean,
): Promise<readonly FoundProcess[]> {
  const pids = await allPids();
  const root = await rootOf("self");
  const match = async (args: readonly string[], pid: number): Promise<readonly FoundProcess[]> => {
    if (!isWanted(args)) return [];
    const startTime = processStartTime(pid);
    if (startTime === undefined || (await rootOf(String(pid))) !== root) return [];
    return [{ pid, startTime: String(startTime), args }];
  };
  const lines = await commandLines(pids);
  return (await Promise.all(pids.map((pid, at) => match(lines[at] ?? [], pid)))).flat();
}

/** Like {@link wordsOf} for all of them, in one job: a node has hundreds of processes. If one hangs, each is read by itself. */
async function commandLines(pids: readonly number[]): Promise<readonly (readonly string[])[]> {
  const lines = await valueWithin(readTogether(pids), readMs);
  return lines ?? (await Promise.all(pids.map((pid) => wordsOf(pid, "cmdline"))));
}

/** Undefined while an earlier call hangs, which occupies a thread of the pool. */
async function readTogether(
  pids: readonly number[],
): Promise<readonly (readonly string[])[] | undefined> {
  if (isReading) return undefined;
  isReading = true;
  try {
    const lines = await readWords(pids.map((pid) => `/proc/${pid}/cmdline`));
    return lines.map((line) => line ?? []);
  } finally {
    isReading = false;
  }
}

/**
 * The processes, except this one, that were started with a wanted value of an environment variable, whatever
 * their parents, session, cgroup and root directory are now. A process whose environment cannot be read within a
 * second is left out, and so is one that has overwritten its environment.
 */
export async function findByEnvironment(
  name: string,
  isWanted: (value: string) => boolean,
): Promise<readonly Omit<FoundProcess, "args">[]> {
  const match = async (pid: number): Promise<readonly Omit<FoundProcess, "args">[]> => {
    const value = await environmentOf(pid, name);
    const startTime = value !== undefined && isWanted(value) ? processStartTime(pid) : undefined;
    return startTime === undefined ? [] : [{ pid, startTime: String(startTime) }];
  };
  const others = (await allPids()).filter((pid) => pid !== process.pid);
  return (await Promise.all(others.map(match))).flat();
}

/** The processes, except this one, whose working directory is this one now. None if it does not exist. */
export async function findByDirectory(path: string): Promise<readonly number[]> {
  const wanted = await fileOf(path);
  if (wanted === undefined) return [];
  const others = (await allPids()).filter((pid) => pid !== process.pid);
  const found = await Promise.all(
    others.map(async (pid) => ((await fileOf(`/proc/${pid}/cwd`)) === wanted ? [pid] : [])),
  );
  return found.flat();
}

/** The value that a process was started with; undefined when it has none, has ended, or cannot be read in time. */
export async function environmentOf(pid: number, name: string): Promise<string | undefined> {
  const entry = (await wordsOf(pid, "environ")).find((word) => word.startsWith(`${name}=`));
  return entry?.slice(name.length + 1);
}

async function allPids(): Promise<readonly number[]> {
  return (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Empty for a process that has ended or cannot be read in time. */
async function wordsOf(pid: number, file: "cmdline" | "environ"): Promise<readonly string[]> {
  const text = await valueWithin(readOnce(`/proc/${pid}/${file}`), readMs);
  return text?.split("\0") ?? [];
}

/** "" for a process that has ended. */
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

/** Identifies the root directory of a process, in any mount namespace (proc_pid_root(5)). */
async function rootOf(pid: string): Promise<string> {
  return (await fileOf(`/proc/${pid}/root`)) ?? "gone";
}

/** Undefined for a process that has ended. */
async function fileOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}
