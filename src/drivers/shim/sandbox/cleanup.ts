import { RuntimeError } from "../../../base/errors.ts";
import type { Sandbox } from "../../../core/sandbox/index.ts";
import {
  type CgroupLayout,
  cgroupsIn,
  killInEveryHierarchy,
  removeCgroup,
} from "../../../linux/cgroup/index.ts";
import { killLeftovers } from "../process/shim-process.ts";

const killMs = 5_000;

/**
 * Ends the processes that a sandbox's shim has left when it has ended, as a virtual machine or a file server.
 * They are found by the shim's mark in their environment and by cgroup: the cgroups in the
 * pod's that are named after the sandbox, and the pod's whole cgroup where only this sandbox uses it.
 * Rejects with `deadline-exceeded` when a process does not die. Idempotent.
 */
export async function endLeftovers(
  sandbox: Sandbox,
  deps: {
    readonly cgroups: CgroupLayout;
    /** Whether no other sandbox that is not stopped is in the same cgroup. */
    readonly isAlone: (sandbox: Sandbox) => boolean;
  },
): Promise<void> {
  const { id } = sandbox;
  const left = await killLeftovers(id);
  // Even if some processes hang, the others are ended.
  await endCgroups(sandbox, deps);
  if (left.length > 0) {
    throw new RuntimeError(
      "deadline-exceeded",
      `end sandbox "${id}": process ${left.join(", ")} of its shim did not exit after SIGKILL: it waits for a device or file system in the kernel; fix that, then retry`,
    );
  }
}

async function endCgroups(
  sandbox: Sandbox,
  deps: Parameters<typeof endLeftovers>[1],
): Promise<void> {
  const { id, cgroup } = sandbox;
  if (cgroup === undefined) return;
  const { parent } = cgroup;
  const names = (await cgroupsIn(deps.cgroups, parent)).filter((name) => name.includes(id));
  for (const path of names.map((name) => `${parent}/${name}`)) {
    await killInEveryHierarchy(deps.cgroups, path, { timeoutMs: killMs });
    await removeCgroup(deps.cgroups, path);
  }
  if (!isOwn(sandbox)) return;
  // The pod's next sandbox may be created in it meanwhile.
  const mayContinue = (): boolean => deps.isAlone(sandbox);
  await killInEveryHierarchy(deps.cgroups, parent, { timeoutMs: killMs, mayContinue });
}

/**
 * True for a cgroup that only this pod uses: one that davit created, or one that is named after the sandbox
 * or its pod, as kubelet's are. A client may choose any other cgroup, even `/system.slice`.
 */
function isOwn({ id, cgroup, config }: Sandbox): boolean {
  if (cgroup === undefined) return false;
  if (cgroup.ownedFrom !== undefined) return true;
  const name = cgroup.parent.slice(cgroup.parent.lastIndexOf("/") + 1);
  const uid = config.metadata?.uid ?? "";
  // A short uid may be a part of any name. In the name of a slice a dash separates levels, so uids have underscores.
  const isNamed = uid.length >= 32 && name.replaceAll("_", "-").includes(uid.replaceAll("_", "-"));
  return isNamed || name.includes(id);
}
