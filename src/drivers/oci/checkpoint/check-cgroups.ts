import { readdir, readFile } from "node:fs/promises";

import { RuntimeError } from "../../../base/errors.ts";
import { errnoCode } from "../../../base/system-error.ts";

/**
 * Checks that a restored process and its descendants, which have run nothing yet, are in the cgroup of their container in
 * every hierarchy of cgroup v1, or of v2. The images name a cgroup for each process, and could name another one than
 * that in which limits and the rules for devices apply. `permission-denied` for a process elsewhere.
 *
 * NOTE(kernel): a process that has ended and was not reaped has the cgroup "/" in every hierarchy of v1
 * (kernel/cgroup/cgroup.c, proc_cgroup_show()).
 */
export async function checkCgroups(pid: number, cgroupPath: string): Promise<void> {
  const found = await cgroupsOf(pid);
  // On v1, the hierarchy of v2 has no controllers, or those that no container uses.
  const lines = found.length > 1 ? found.filter((line) => !line.startsWith("0::")) : found;
  const outside = lines.find((line) => !`${line}/`.includes(`:${cgroupPath}/`));
  if (outside !== undefined && !(await hasEnded(pid))) {
    throw new RuntimeError(
      "permission-denied",
      `the checkpoint has a process in a cgroup other than the container's: "${outside}"`,
    );
  }
  for (const child of await childrenOf(pid)) await checkCgroups(child, cgroupPath);
}

async function cgroupsOf(pid: number): Promise<readonly string[]> {
  return (await textOf(`/proc/${pid}/cgroup`)).split("\n").filter((line) => line !== "");
}

/** The third field of proc_pid_stat(5), after a name in parentheses that may have any character. */
async function hasEnded(pid: number): Promise<boolean> {
  const text = await textOf(`/proc/${pid}/stat`);
  return text === "" || /^\) [ZX]/.test(text.slice(text.lastIndexOf(")")));
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(absent);
  const texts = threads.map((thread) => textOf(`/proc/${pid}/task/${thread}/children`));
  return (await Promise.all(texts)).flatMap((text) => text.split(" ").map(Number).filter(Boolean));
}

/** Empty for a process that has ended. */
async function textOf(path: string): Promise<string> {
  return (await readFile(path, "latin1").catch(absent)).toString();
}

function absent(cause: unknown): [] {
  if (["ENOENT", "ESRCH"].includes(errnoCode(cause) ?? "")) return [];
  throw cause;
}
