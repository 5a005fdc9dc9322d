import { runNumbersJob, runTextsJob } from "../addon.ts";

/** pool. A descriptor of each file, which the caller closes; -1 for one that cannot be opened. */
export async function openFiles(paths: readonly string[]): Promise<readonly number[]> {
  return await runNumbersJob("openFiles", paths);
}

/**
 * pool. The content of open files of cgroupfs from their beginning, as readFiles() gives it; null for a descriptor
 * below 0.
 */
export async function readOpenFiles(
  descriptors: readonly number[],
): Promise<readonly (string | null)[]> {
  return await runTextsJob("readOpenFiles", [], descriptors);
}

/**
 * pool. Removes cgroups; one that does not exist is skipped. `withInner` removes the cgroups in them first; without it
 * a cgroup that contains others stays. For each directory the cgroup that is busy, it or one in it, or undefined.
 * Rejects when one cannot be removed for another reason, after all others. ENOTEMPTY: it has files that are not the
 * kernel's.
 */
export async function removeCgroups(
  directories: readonly string[],
  options: { readonly withInner: boolean },
): Promise<readonly (string | undefined)[]> {
  const busy = await runTextsJob("removeCgroups", directories, [options.withInner ? 1 : 0]);
  return busy.map((directory) => (directory === null ? undefined : utf8Of(directory)));
}

/** pool. The names of the cgroups directly in any of these directories, which need not exist; a name can repeat. */
export async function listCgroups(directories: readonly string[]): Promise<readonly string[]> {
  const [names] = await runTextsJob("listCgroups", directories);
  return utf8Of(names ?? "")
    .split("\n")
    .filter((name) => name !== "");
}

/**
 * pool. The pids of the processes in these cgroups and below them; a pid can repeat. Processes that this PID
 * namespace does not see are left out: the kernel lists them as 0, and a signal to 0 would hit this process.
 */
export async function listProcesses(directories: readonly string[]): Promise<readonly number[]> {
  const [pids] = await runTextsJob("listProcesses", directories);
  return (pids ?? "")
    .split("\n")
    .map(Number)
    .filter((pid) => pid > 0);
}

/**
 * pool. Writes a value to an existing file in one write(2). The errno when the file does not exist, undefined when
 * the value is written. EINVAL, EBUSY, ENOSPC and others: the kernel refuses the value.
 */
export async function writeCgroupFile(path: string, value: string): Promise<number | undefined> {
  const [, errno = 0] = await runNumbersJob("writeCgroupFile", [path, value]);
  return errno === 0 ? undefined : errno;
}

/**
 * pool. Sends SIGKILL to all processes in a cgroup of v1's freezer and below, which are frozen meanwhile. False when
 * the cgroup does not exist.
 */
export async function killFrozen(directory: string): Promise<boolean> {
  return (await runNumbersJob("killFrozen", [directory]))[0] === 1;
}

/**
 * pool, 0.05 ms. An eventfd that the kernel signals at each OOM event of a cgroup of v1's memory controller, and when the
 * cgroup is removed. The caller closes it. Undefined when the cgroup does not exist. EINVAL: the kernel has no such event.
 */
export async function openOomEvents(directory: string): Promise<number | undefined> {
  const [descriptor = -1] = await runNumbersJob("openOomEvents", [directory]);
  return descriptor < 0 ? undefined : descriptor;
}

/**
 * pool, 15 ms, since the kernel waits for an RCU grace period. Gives the tree of v2 the option favordynmods for a moment.
 * `options` are those that it has, and keeps. Without effect outside of the first cgroup namespace. EINVAL before Linux
 * 6.0, and for an unknown option.
 */
export async function favorMigrations(options: readonly string[]): Promise<void> {
  await runNumbersJob("favorMigrations", options);
}

/** What processes have open. */
export interface OpenFiles {
  readonly processes: number;
  readonly descriptors: number;
  /** How many of the descriptors are sockets. */
  readonly sockets: number;
}

/**
 * pool, about 1 us a descriptor. Counts the processes in each of these cgroups and below it, and what they have open;
 * `undefined` for a cgroup that does not exist. Counts at most `limit` processes and descriptors of one cgroup.
 */
export async function countOpenFiles(
  directories: readonly string[],
  limit: number,
): Promise<readonly (OpenFiles | undefined)[]> {
  const counts = await runNumbersJob("countOpenFiles", directories, [limit]);
  return directories.map((_, index) => {
    const [processes = -1, descriptors = 0, sockets = 0] = counts.slice(3 * index, 3 * index + 3);
    return processes < 0 ? undefined : { processes, descriptors, sockets };
  });
}

/** The addon's texts have one character for each byte. */
function utf8Of(text: string): string {
  return Buffer.from(text, "latin1").toString("utf8");
}
