import { readlinkSync } from "node:fs";

import { RuntimeError } from "../../../base/errors.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import { type CgroupLayout, cgroupProcs } from "../../../linux/cgroup/index.ts";
import { errnoCode } from "../../../base/system-error.ts";

/**
 * Refuses a task that should have a PID namespace but is in the node's, before its command is run:
 * `failed-precondition`. This happens where a sandboxer creates no PID namespace for the pod, and the
 * process that it names is one of the node's. The process of a virtual machine is in the node's namespace, too, which
 * is allowed: it is not in the container's cgroup.
 */
export async function refuseHostProcesses(
  { handler, spec, cgroupPath }: ContainerBundle,
  pid: number,
  cgroups: CgroupLayout,
): Promise<void> {
  if (handler.controller !== "shim" || pid <= 0) return;
  if (!spec.linux.namespaces.some(({ type }) => type === "pid")) return;
  const namespace = pidNamespaceOf(String(pid));
  if (namespace === undefined || namespace !== pidNamespaceOf("self")) return;
  if (!(await cgroupProcs(cgroups, cgroupPath)).includes(pid)) return;
  throw new RuntimeError(
    "failed-precondition",
    `create process: it would see the processes of the node, as the sandbox that handler "${handler.name}" made has no PID namespace of its own; set pid to CONTAINER (shareProcessNamespace: false), or use another handler`,
  );
}

/** Undefined for a process that has ended. */
function pidNamespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT" || errnoCode(cause) === "ESRCH") return undefined;
    throw cause;
  }
}
