import { readdirSync, readFileSync } from "node:fs";

import { errnoCode, systemError } from "../../base/system-error.ts";

const SIGKILL = 9;
const SIGCONT = 18;
const SIGSTOP = 19;

/**
 * Kills a process, everything that descends from it, and what of `candidates` is in a session that
 * one of those leads. `root` must be a process that is not reaped yet, or held otherwise, so that
 * its pid is nobody else's. With `spareRoot` the root goes on, and can reap its children.
 *
 * Each process is stopped before its children are listed, and listing goes on until nothing new is
 * found, so that nothing escapes by forking. What was orphaned before, and in a session of its own,
 * is no longer known to belong here.
 *
 * Returns the pids that were sent SIGKILL. They may take a moment to die, or hang in the kernel.
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
 * Kills those of `candidates` that are in the session which `leader` led, also when that is gone: its
 * pid is nobody else's as long as the session has a process. Returns how many there were: what one of
 * them started meanwhile may still be there then.
 */
export function killSession(leader: number, candidates: readonly number[]): number {
  const session = candidates.filter((pid) => sessionOf(pid) === leader);
  for (const pid of session) signalProcess(pid, SIGKILL);
  return session.length;
}

/** The children of all threads of a process (proc_pid_task_tid_children(5)); none when it is gone. */
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

/** Field 6 of /proc/PID/stat, counted after the name in parentheses; 0 when the process is gone. */
function sessionOf(pid: number): number {
  return orGone(0, () => {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3]);
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
