import { posix } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { PodCgroup, Sandbox } from "./sandbox.ts";

/** The prefix of an id in the name of a scope. It is containerd's, because tools look for that. */
const scopePrefix = "cri-containerd";

/** The cgroup of a container, for the kernel and for the OCI runtime. */
export interface ContainerCgroup {
  /** The path below the root of each hierarchy. */
  readonly path: string;
  /** `linux.cgroupsPath` of its spec. */
  readonly specPath: string;
}

/**
 * The cgroup of a container in that of its pod: `<parent>/<id>` with cgroupfs. With systemd it is a scope
 * in the pod's slice, which the OCI runtime gets as `slice:prefix:name`.
 */
export function containerCgroup(pod: PodCgroup | undefined, id: string): ContainerCgroup {
  const parent = pod?.parent ?? "";
  if (pod?.driver !== "systemd") return { path: `${parent}/${id}`, specPath: `${parent}/${id}` };
  return {
    path: `${parent}/${scopePrefix}-${id}.scope`,
    specPath: `${posix.basename(parent)}:${scopePrefix}:${id}`,
  };
}

/**
 * The cgroup that a `linux.cgroupsPath` means, as a path below the root of each hierarchy. Undefined for one
 * that is not as those of this pod's cgroup driver: a path, or `slice:prefix:name`.
 */
export function specCgroup(pod: PodCgroup | undefined, specPath: string): string | undefined {
  if (pod?.driver !== "systemd") {
    return specPath.startsWith("/") && posix.normalize(specPath) === specPath
      ? specPath
      : undefined;
  }
  const match = /^([^:/]+\.slice):([^:/]+):([^:/]+)$/.exec(specPath);
  if (match === null) return undefined;
  const [, slice = "", prefix = "", name = ""] = match;
  return `${slicePath(slice)}/${prefix}-${name}.scope`;
}

/** True when no other sandbox, except stopped ones, has its cgroup in that of this sandbox. */
export function isAloneInCgroup({ id, cgroup }: Sandbox, all: Iterable<Sandbox>): boolean {
  const parent = cgroup?.parent ?? "";
  for (const other of all) {
    if (other.id === id || other.state.name === "stopped") continue;
    const its = other.cgroup?.parent ?? "";
    if (its === parent || its.startsWith(`${parent}/`)) return false;
  }
  return true;
}

/** True for a container cgroup that systemd created. The OCI runtime needs an option for it. */
export function isScope(cgroupPath: string): boolean {
  return cgroupPath.endsWith(".scope");
}

/** The id of the container whose cgroup, by containerCgroup(), has this base name. */
export function containerOfCgroup(name: string): string {
  return new RegExp(`^${scopePrefix}-(.+)\\.scope$`).exec(name)?.[1] ?? name;
}

/**
 * The cgroup path of a slice. systemd nests slices by the dashes in their names: `a-b.slice` is at
 * `/a.slice/a-b.slice` (systemd.slice(5)). kubelet sends the whole path, other clients only the name;
 * only the name is used. `invalid-argument` for any other name.
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
