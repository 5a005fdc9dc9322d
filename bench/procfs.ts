/** The processes of a server from /proc, with their CPU time and memory. */
import { readdirSync, readFileSync } from "node:fs";

// USER_HZ, which every Linux of today has at 100 (proc_pid_stat(5)).
const tickMs = 10;

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
  readonly cpuMs: number;
  /** Of children that have ended and were waited for. */
  readonly childrenMs: number;
}

/**
 * The processes of a server: `mainPid`, all whose command line contains `mark` (monitors that
 * outlive it), and the descendants of both.
 */
export function processTree(mainPid: number, mark: string): readonly number[] {
  const all = processes();
  const tree = new Set(
    all
      .filter(({ pid, command }) => pid === mainPid || command.includes(mark))
      .map(({ pid }) => pid),
  );
  tree.delete(process.pid);
  for (let grown = true; grown; ) {
    const children = all.filter(({ pid, parent }) => tree.has(parent) && !tree.has(pid));
    grown = children.length > 0;
    for (const { pid } of children) tree.add(pid);
  }
  return [...tree];
}

/** User and system time of these processes with all their threads, in steps of 10 ms. */
export function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (readProcess(pid)?.cpuMs ?? 0), 0);
}

/** As {@link cpuMs}, with that of their children that have ended. */
export function cpuWithChildrenMs(pids: readonly number[]): number {
  const found = pids.map(readProcess).filter((process) => process !== undefined);
  return found.reduce((sum, { cpuMs, childrenMs }) => sum + cpuMs + childrenMs, 0);
}

/** The proportional set size of these processes together, in KiB (smaps_rollup). */
export function pssKib(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const text = read(`/proc/${pid}/smaps_rollup`);
    return sum + Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0);
  }, 0);
}

function processes(): readonly Process[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((found) => found !== undefined);
}

/** undefined when the process has gone. */
function readProcess(pid: number): Process | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === "") return undefined;
  // The name in brackets can contain any characters: the fields are counted after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    parent: Number(fields[1]),
    command: read(`/proc/${pid}/cmdline`),
    cpuMs: (Number(fields[11]) + Number(fields[12])) * tickMs,
    childrenMs: (Number(fields[13]) + Number(fields[14])) * tickMs,
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // It ended meanwhile.
  }
}
