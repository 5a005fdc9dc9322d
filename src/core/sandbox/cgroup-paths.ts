import { posix } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { PodCgroup, Sandbox } from "./sandbox.ts";

/** Before an id in the name of a scope: what tools look for that know containerd's names. */
const scopePrefix = "cri-containerd";

/** Where a container's cgroup is, for the kernel and for the OCI runtime. */
export interface ContainerCgroup {
  /** Path below each hierarchy's root. */
  readonly path: string;
  /** `linux.cgroupsPath` of its spec. */
  readonly specPath: string;
}

/**
 * The cgroup of a container in the pod's: `<parent>/<id>` with cgroupfs, and with systemd a scope in
 * the pod's slice, which the OCI runtime is told as `slice:prefix:name`.
 */
export function containerCgroup(pod: PodCgroup | undefined, id: string): ContainerCgroup {
  const parent = pod?.parent ?? "";
  if (pod?.driver !== "systemd") return { path: `${parent}/${id}`, specPath: `${parent}/${id}` };
  return {
    path: `${parent}/${scopePrefix}-${id}.scope`,
    specPath: `${posix.basename(parent)}:${scopePrefix}:${id}`,
  };
}

/** Whether no other sandbox has its cgroup in this one's, but for those that are stopped. */
export function isAloneInCgroup({ id, cgroup }: Sandbox, all: Iterable<Sandbox>): boolean {
  const parent = cgroup?.parent ?? "";
  for (const other of all) {
    if (other.id === id || other.state.name === "stopped") continue;
    const its = other.cgroup?.parent ?? "";
    if (its === parent || its.startsWith(`${parent}/`)) return false;
  }
  return true;
}

/** True for the cgroup of a container that systemd made: OCI runtimes must then be told so. */
export function isScope(cgroupPath: string): boolean {
  return cgroupPath.endsWith(".scope");
}

/** The container that a cgroup of containerCgroup() is of, by the last part of its path. */
export function containerOfCgroup(name: string): string {
  return new RegExp(`^${scopePrefix}-(.+)\\.scope$`).exec(name)?.[1] ?? name;
}

/**
 * The cgroup of a slice. systemd keeps slices in each other by the dashes of their names:
 * `a-b.slice` is at `/a.slice/a-b.slice` (systemd.slice(5)). kubelet sends the whole path, other
 * clients the name alone; the name counts. `invalid-argument` for what is no slice.
 */
export function slicePath(cgroupParent: string): string {
  const name = posix.basename(cgroupParent);
  const stem = name.slice(0, -".slice".length);
  // The characters of a unit's name, systemd.unit(5).
  const isName = /^[A-Za-z0-9:_.\\]+(-[A-Za-z0-9:_.\\]+)*$/.test(stem) && name.length < 256;
  if (!name.endsWith(".slice") || !isName) {
    throw new RuntimeError(
      "invalid-argument",
      `prepare pod cgroup: with runtime.cgroup_driver = "systemd" cgroup_parent must be a slice as "a-b.slice", got ${JSON.stringify(cgroupParent)}`,
    );
  }
  const steps = stem.split("-");
  return steps.map((_step, at) => `/${steps.slice(0, at + 1).join("-")}.slice`).join("");
}
