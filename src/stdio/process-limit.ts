import { kindOf, messageOf, RuntimeError } from "../base/errors.ts";
import { type CgroupLayout, findProcessLimit } from "../linux/cgroup/index.ts";

/**
 * How many processes and threads a runtime needs for a moment to start a command: crun two, runc also the threads of Go's
 * runtime. They are gone when the failure is reported.
 */
const needed = 16;

/** What runtimes say when fork(2) or clone(2) failed with EAGAIN: crun, runc and the runtime of Go, in which it is written. */
const noProcess = /resource temporarily unavailable|failed to create new OS thread/i;

/**
 * Runs `work`, which starts a process in the cgroup `path`. If its runtime cannot, and the cgroup or one above it is at its
 * limit of processes, the error is `resource-exhausted` and names that cgroup with both numbers. The runtime's own words are
 * its cause: Go's runtime adds a dump of its threads.
 *
 * NOTE(crun): on cgroup v2 `crun exec` starts its first process in the cgroup, which forks the command there. So a command
 * fails while there is room for one process. With room for none, crun forks outside and moves the command in, which the
 * kernel allows above the limit.
 */
export async function explainProcessLimit<T>(
  cgroup: { readonly cgroups: CgroupLayout; readonly path: string },
  doing: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (kindOf(cause) !== "unknown" || !noProcess.test(messageOf(cause))) throw cause;
    const { cgroups, path } = cgroup;
    const full = await findProcessLimit(cgroups, path, needed).catch(() => undefined);
    if (full === undefined) throw cause;
    const text = `${doing}: its cgroup "${full.path}" has ${full.used} of at most ${full.limit} processes and threads, too many to start a command; end some of them, or raise the limit`;
    throw new RuntimeError("resource-exhausted", text, { cause });
  }
}
