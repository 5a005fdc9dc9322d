import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { describeWait, processWait } from "../../../src/linux/process/process-wait.ts";

// Children inherit it, so that a process is recognized after its parent has ended.
const ownRun = (process.env["DAVIT_TEST_RUN"] ??= randomUUID());

/** One process of /proc (proc_pid_stat(5)). */
interface ProcessEntry {
  readonly pid: number;
  readonly ppid: number;
  /** In clock ticks since the machine started: together with the pid it identifies a process. */
  readonly startTime: string;
  readonly comm: string;
  readonly state: string;
  readonly kernelThread: boolean;
}

/** PF_KTHREAD of include/linux/sched.h, which ps(1) uses, too. */
const kernelThreadFlag = 0x0020_0000;

/** Every process that /proc shows; one that ends meanwhile is left out. */
export function readProcesses(): readonly ProcessEntry[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => readProcess(Number(pid)))
    .filter((entry) => entry !== undefined);
}

/** One process, or undefined if it does not exist. */
export function readProcess(pid: number): ProcessEntry | undefined {
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  // The name is in brackets, and can contain spaces and brackets itself.
  const match = /^\d+ \((.*)\) (.*)$/s.exec(stat);
  if (match === null) return undefined;
  const fields = match[2]?.split(" ") ?? [];
  return {
    pid,
    comm: match[1] ?? "",
    state: fields[0] ?? "",
    ppid: Number(fields[1]),
    kernelThread: (Number(fields[6]) & kernelThreadFlag) !== 0,
    startTime: fields[19] ?? "",
  };
}

/**
 * True for a process that has not ended. A zombie has ended: the first process of a file's namespaces reaps orphans,
 * which can be late on a busy machine.
 */
export function isThere(pid: number): boolean {
  const state = readProcess(pid)?.state;
  return state !== undefined && state !== "Z" && state !== "X";
}

/**
 * Names of the processes that belong to the tests. This process, its ancestors and kernel threads never count.
 * Zombies do, because their parent did not reap them.
 */
export function processNames(
  which: "namespace" | "own" | { readonly run: string },
): readonly string[] {
  const all = readProcesses();
  const byPid = new Map(all.map((entry) => [entry.pid, entry]));
  const above = new Set<number>();
  for (let pid = process.pid; byPid.has(pid) && !above.has(pid); ) {
    above.add(pid);
    pid = byPid.get(pid)?.ppid ?? 0;
  }
  return all
    .filter((entry) => !above.has(entry.pid) && !entry.kernelThread)
    .filter((entry) => {
      if (which === "namespace") return true;
      if (which === "own") return isMarked(entry, ownRun) || isBelow(entry, process.pid, byPid);
      return isMarked(entry, which.run);
    })
    .map(describe);
}

/** True for a process that was started with this DAVIT_TEST_RUN and has not replaced it since. */
function isMarked({ pid }: ProcessEntry, run: string): boolean {
  return readOrEmpty(`/proc/${pid}/environ`).split("\0").includes(`DAVIT_TEST_RUN=${run}`);
}

/** The processes below this one, and where in the kernel each of them waits. */
export async function describeWaits(top: number): Promise<readonly string[]> {
  const all = readProcesses();
  const byPid = new Map(all.map((entry) => [entry.pid, entry]));
  const below = all.filter((entry) => isBelow(entry, top, byPid));
  return await Promise.all(
    below.map(async (entry) => {
      const wait = await processWait(entry.pid);
      return `${describe(entry)}${wait === undefined ? "" : `\n  ${describeWait(wait)}`}`;
    }),
  );
}

function isBelow(
  entry: ProcessEntry,
  top: number,
  byPid: ReadonlyMap<number, ProcessEntry>,
): boolean {
  const seen = new Set<number>();
  for (let at = byPid.get(entry.ppid); at !== undefined && !seen.has(at.pid); ) {
    if (at.pid === top) return true;
    seen.add(at.pid);
    at = byPid.get(at.ppid);
  }
  return false;
}

function describe(entry: ProcessEntry): string {
  const argv = readOrEmpty(`/proc/${entry.pid}/cmdline`).split("\0").join(" ").trim();
  const shown = entry.state === "Z" ? "(zombie)" : argv.slice(0, 400);
  return `${entry.comm} pid ${entry.pid} started ${entry.startTime}: ${shown}`;
}

/**
 * The targets of the open descriptors of a process, without numbers and inodes: two pipes are "pipe" twice. A unix
 * socket with a path is named by the path.
 */
export function descriptorNames(pid: number): readonly string[] {
  const sockets = socketNames(pid);
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    const target = readLinkOrEmpty(`/proc/${pid}/fd/${fd}`);
    if (target === "") return [];
    const [, type = "", inode = ""] =
      /^(socket|pipe|net|ipc|uts|mnt|pid|user|cgroup):\[(\d+)\]$/.exec(target) ?? [];
    if (type === "") return [target];
    const name = type === "socket" ? sockets.get(inode) : undefined;
    return [name === undefined ? type : `${type} ${name}`];
  });
}

/**
 * Whether this is the target of a descriptor of a watch on OOM kills: a container that has run for a second has one, or
 * with cgroup v2 all containers together (src/linux/cgroup/oom-watch.ts).
 */
export function isOomWatch(target: string): boolean {
  return target === "anon_inode:[eventfd]" || target === "anon_inode:inotify";
}

/** Whether this is the target of the descriptor that syncs layers a moment after a pull (drivers/overlay/late-sync.ts). */
export function isLateSync(target: string): boolean {
  return target.endsWith("/root/layers");
}

/** What is known of sockets by their inodes: the path of a unix socket, and what a daemon keeps once it has needed it. */
function socketNames(pid: number): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  const rowsOf = (file: string): readonly (readonly string[])[] =>
    readOrEmpty(`/proc/${pid}/net/${file}`)
      .split("\n")
      .map((line) => line.trim().split(/\s+/));
  for (const [, , , , , , inode, path] of rowsOf("unix")) {
    if (inode !== undefined && path !== undefined) names.set(inode, path);
  }
  for (const [, protocol, , , , , , , , inode] of rowsOf("netlink")) {
    if (inode !== undefined && protocol === "12") names.set(inode, "(netfilter)");
  }
  for (const [, , , state, , , , , , inode] of [...rowsOf("tcp"), ...rowsOf("tcp6")]) {
    if (inode !== undefined && state === "0A") names.set(inode, "(listening)");
  }
  return names;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // The process ended between readdir and here, or it is a zombie.
  }
}

function readLinkOrEmpty(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
