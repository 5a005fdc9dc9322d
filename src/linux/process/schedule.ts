import { readFileSync, writeFileSync } from "node:fs";
import { native } from "../native.ts";

/** As much weight as nine threads at nice 0 (sched_prio_to_weight, kernel/sched/core.c). */
const threadNice = -10;
/** Three times the weight of another session. More makes a burst slower: less is done in one go. */
const sessionNice = -5;
/** The kernel's own is 1.4 to 3 ms. A thread with a shorter slice is the next one sooner, and gets no more for it. */
const sliceNs = 100_000;

/**
 * Lets the calling thread, which is the event loop's, get a CPU soon on a busy machine: everything that the
 * daemon makes waits for it, and never the other way round. Children and threads that come later have the
 * scheduling of any process (sched(7), SCHED_FLAG_RESET_ON_FORK); within a cgroup's share of CPU it changes
 * who is first, not how much there is. Where davit leads a session, that is preferred to others, too: what
 * it starts are sessions of their own.
 *
 * False, and nothing is changed, where CAP_SYS_NICE is missing and where the daemon was started with a
 * policy or a nice value other than the default: then somebody has chosen it.
 */
export function preferEventLoop(): boolean {
  if (!native().preferThread(threadNice, sliceNs)) return false;
  preferSession();
  return true;
}

/**
 * NOTE(kernel): in the root cgroup of the cpu controller each session has a share of its own, "autogroup" (sched(7)), and a
 * thread's nice value counts within that alone. A session that somebody else leads, such as a login shell's,
 * is left alone, as is a nice value that somebody chose.
 */
function preferSession(): void {
  try {
    const stat = readFileSync("/proc/self/stat", "latin1");
    // Field 6 of proc_pid_stat(5); the second one may contain anything.
    const session = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3]);
    if (session !== process.pid) return;
    const group = readFileSync("/proc/self/autogroup", "latin1");
    if (group.endsWith(" nice 0\n")) writeFileSync("/proc/self/autogroup", String(sessionNice));
  } catch {
    // A kernel without.
  }
}
