import { native } from "./native.ts";

/** As much weight as nine threads at nice 0 (sched_prio_to_weight, kernel/sched/core.c). */
const nice = -10;
/** The kernel's own is 1.4 to 3 ms. A thread with a shorter slice is the next one sooner, and gets no more for it. */
const sliceNs = 100_000;

/**
 * Lets the calling thread, which is the event loop's, get a CPU soon on a busy machine: everything that the
 * daemon makes waits for it, and never the other way round. Children and threads that come later have the
 * scheduling of any process (sched(7), SCHED_FLAG_RESET_ON_FORK); within a cgroup's share of CPU it changes
 * who is first, not how much there is.
 *
 * False, and nothing is changed, where CAP_SYS_NICE is missing and where the daemon was started with a
 * policy or a nice value other than the default: then somebody has chosen it.
 */
export function preferEventLoop(): boolean {
  return native().preferThread(nice, sliceNs);
}
