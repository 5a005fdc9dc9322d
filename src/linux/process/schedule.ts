import { readFileSync, writeFileSync } from "node:fs";

import { preferThread } from "./native.ts";

/** As much weight as nine threads at nice 0 (sched_prio_to_weight, kernel/sched/core.c). */
const threadNice = -10;
/** Three times the weight of another session. A larger weight makes bursts slower, with more switches. */
const sessionNice = -5;
/** The kernel's default is 1.4 to 3 ms. A thread with a shorter slice runs sooner, and gets no more CPU time. */
const sliceNs = 100_000;

/**
 * Lets the calling thread, which runs the event loop, get a CPU soon on a busy machine: all work of the
 * daemon waits for this thread. Later children and threads have the default
 * scheduling (sched(7), SCHED_FLAG_RESET_ON_FORK). Within a cgroup's share of CPU time this changes
 * the order of threads, not the amount. If davit leads a session, that session is preferred to others, too; the
 * programs that davit starts lead sessions of their own.
 *
 * False, and nothing is changed, when CAP_SYS_NICE is missing or when the daemon was started with a
 * policy or a nice value other than the default, which an administrator then chose.
 */
export function preferEventLoop(): boolean {
  if (!preferThread({ nice: threadNice, sliceNs })) return false;
  preferSession();
  return true;
}

/**
 * NOTE(kernel): in the root cgroup of the cpu controller each session has a share of its own, "autogroup"
 * (sched(7)), and a thread's nice value counts only within that. The session of another leader, such as a login
 * shell, is not changed, nor is a nice value that is not the default.
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
    // The kernel has no autogroups.
  }
}
