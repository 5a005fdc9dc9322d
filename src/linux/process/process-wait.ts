import { readdir, readFile } from "node:fs/promises";

import { valueWithin } from "../../base/wait.ts";

/** What a process that does not end does in the kernel. */
export interface ProcessWait {
  readonly pid: number;
  /** The name of the program in the kernel: at most 15 bytes. */
  readonly name: string;
  /** One letter, as ps shows it: D is an uninterruptible sleep (proc_pid_stat(5)). */
  readonly state: string;
  /** The kernel function that it sleeps in; "" when it does not sleep or the kernel does not show it. */
  readonly channel: string;
  /** The kernel functions that led there, innermost first; empty when they cannot be read. */
  readonly stack: readonly string[];
}

// The innermost frames show what it waits for; the last ones are the same for every system call.
const shownFrames = 8;
const timeoutMs = 1_000;
// Threads of one process; each takes three files.
const maxThreads = 64;
const stateNames: Readonly<Record<string, string>> = {
  D: "uninterruptible sleep",
  S: "sleep",
  R: "running",
  T: "stopped",
  t: "traced",
  Z: "zombie",
};

/**
 * Where a process waits; if it has several threads, the one that most likely keeps it from ending. Undefined when it
 * has ended, or when /proc does not answer within a second. Never reads `cmdline` and `environ`, which need
 * the lock of its memory map; a process that hangs in the kernel may hold that. `stack` can wait for an
 * execve that hangs.
 */
export async function processWait(pid: number): Promise<ProcessWait | undefined> {
  return await valueWithin(readWait(pid), timeoutMs);
}

async function readWait(pid: number): Promise<ProcessWait | undefined> {
  const tasks = (await tasksOf(pid)).slice(0, maxThreads);
  const waits = await Promise.all(tasks.map((task) => taskWait(pid, task)));
  const found = waits.filter((wait) => wait !== undefined);
  // A thread group leader that has ended stays a zombie for as long as one of its threads hangs.
  return found.toSorted((a, b) => urgency(a) - urgency(b))[0];
}

/** One line for an error message: which process, in which state, and where in the kernel. */
export function describeWait({ pid, name, state, channel, stack }: ProcessWait): string {
  const named = stateNames[state];
  const parts = [
    `process ${pid} ("${name}") in state ${state}${named === undefined ? "" : ` (${named})`}`,
    ...(channel === "" ? [] : [`waiting in ${channel}`]),
  ];
  const frames = stack.length === 0 ? "" : ` (${stack.join(" < ")})`;
  return `${parts.join(", ")}${frames}`;
}

function urgency({ state }: ProcessWait): number {
  if (state === "D") return 0;
  return state === "Z" || state === "X" ? 2 : 1;
}

async function tasksOf(pid: number): Promise<readonly string[]> {
  try {
    return await readdir(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

async function taskWait(pid: number, task: string): Promise<ProcessWait | undefined> {
  const directory = `/proc/${pid}/task/${task}`;
  const stat = await textOf(`${directory}/stat`);
  const end = stat.lastIndexOf(")");
  if (end < 0) return undefined;
  const [channel, stack] = await Promise.all([
    textOf(`${directory}/wchan`),
    textOf(`${directory}/stack`),
  ]);
  return {
    pid,
    name: stat.slice(stat.indexOf("(") + 1, end),
    state: stat.charAt(end + 2),
    channel: channel === "0" ? "" : channel,
    stack: parseStack(stack),
  };
}

/** The functions of lines like `[<0>] percpu_rwsem_wait+0x15f/0x1d0` (proc_pid_stack(5)). */
export function parseStack(text: string): readonly string[] {
  return [...text.matchAll(/^\[<[^>]*>\] ([^\s+]+)/gm)]
    .map((match) => match[1] ?? "")
    .slice(0, shownFrames);
}

/** "" for a file that cannot be read: the process ended, or the kernel does not show it. */
async function textOf(path: string): Promise<string> {
  try {
    return (await readFile(path, "latin1")).trim();
  } catch {
    return "";
  }
}
