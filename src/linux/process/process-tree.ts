import { readdirSync, readFileSync } from "node:fs";

import { errnoCode, systemError } from "../../base/system-error.ts";
import { SIGCONT, SIGKILL, SIGSTOP } from "./signals.ts";

/**
 * Kills a process, its descendants, and those of `candidates` that are in a session which
 * one of them leads. `root` must be a process that is not reaped yet, so that
 * its pid belongs to no other process. With `spareRoot` the root continues, and can reap its children.
 *
 * Each process is stopped before its children are listed, and listing continues until it finds nothing new,
 * so that no process escapes by forking. A process that was orphaned before, in a session of its own,
 * is not found.
 *
 * Returns the pids that were sent SIGKILL. They may take a moment to end, or hang in the kernel.
 */
export function killProcessTree(
  root: number,
  options: { readonly candidates?: readonly number[]; readonly spareRoot?: boolean } = {},
): readonly number[] {
  const found = new Set<number>();
  let fresh: readonly number[] = [root];
  while (fresh.length > 0) {
    for (const pid of fresh) {
      found.add(pid);
      signalProcess(pid, SIGSTOP);
    }
    const children = [...found].flatMap(childrenOf);
    const followers = (options.candidates ?? []).filter((pid) => found.has(sessionOf(pid)));
    fresh = [...new Set([...children, ...followers])].filter((pid) => !found.has(pid));
  }
  if (options.spareRoot === true) found.delete(root);
  for (const pid of found) signalProcess(pid, SIGKILL);
  if (options.spareRoot === true) signalProcess(root, SIGCONT);
  return [...found];
}

/**
 * Kills those of `candidates` that are in the session of `leader`, even when the leader has ended: its
 * pid is not reused as long as the session has a process. Returns how many there were; a process that one of
 * them started meanwhile may still run.
 */
export function killSession(leader: number, candidates: readonly number[]): number {
  const session = candidates.filter((pid) => sessionOf(pid) === leader);
  for (const pid of session) signalProcess(pid, SIGKILL);
  return session.length;
}

/** The most parents that are looked up: a process tree that is deeper is not of an OCI runtime. */
const maxParents = 64;

/** Whether `pid` is a child of `ancestor`, or a child's child. False when it has ended. */
export function isDescendant(pid: number, ancestor: number): boolean {
  let at = pid;
  for (let count = 0; count < maxParents && at > 1; count++) {
    at = statField(at, 1);
    if (at === ancestor) return true;
  }
  return false;
}

/** The children of all threads of a process (proc_pid_task_tid_children(5)); none when it has ended. */
function childrenOf(pid: number): readonly number[] {
  return orGone([], () =>
    readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "latin1")
        .split(" ")
        .map(Number)
        .filter((child) => child > 0),
    ),
  );
}

function sessionOf(pid: number): number {
  return statField(pid, 3);
}

/** A field of /proc/PID/stat, counted from 0 after the name in parentheses; 0 when the process has ended. */
function statField(pid: number, index: number): number {
  return orGone(0, () => {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[index]);
  });
}

function signalProcess(pid: number, signal: number): void {
  orGone(undefined, () => {
    process.kill(pid, signal);
  });
}

function orGone<T>(gone: T, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOENT" || code === "ESRCH") return gone;
    throw systemError("kill process tree", cause);
  }
}
