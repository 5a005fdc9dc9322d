import type { SpecInput } from "../input.ts";
import { refuseHere } from "../refuse.ts";
import type { OciMount, OciSpec } from "../../core/oci/index.ts";

/**
 * Changes the mounts of cgroups in a spec that is complete otherwise.
 *
 * A container of cgroup v2 without a cgroup namespace gets the node's own mount. A new mount would have
 * the same superblock, whose options are those of the latest mount from the first cgroup namespace
 * (apply_cgroup_root_flags() in kernel/cgroup/cgroup.c): the node would lose nsdelegate and
 * memory_recursiveprot. Naming these options in the spec does not help: crun 1.21 does not pass them on.
 *
 * Where the handler has `cgroup_writable`, a container may write to its own cgroup. `failed-precondition`
 * if it could then change its own limits. A privileged container writes to all cgroups anyway.
 */
export function withCgroupMounts(
  spec: OciSpec,
  input: Pick<SpecInput, "cgroupWritable" | "cgroupDelegated" | "config" | "host">,
): OciSpec {
  const { host, config } = input;
  const hasNamespace = spec.linux.namespaces.some(({ type }) => type === "cgroup");
  if (host.cgroupVersion === 2 && !hasNamespace) {
    return changed(spec, (mount) => nodeMount(mount, host.cgroupRoot));
  }
  if (input.cgroupWritable !== true || config.linux?.securityContext?.privileged === true) {
    return spec;
  }
  checkDelegation(input);
  return changed(spec, writable);
}

function changed(spec: OciSpec, change: (mount: OciMount) => OciMount): OciSpec {
  const isCgroup = ({ type }: OciMount): boolean => type === "cgroup" || type === "cgroup2";
  return { ...spec, mounts: spec.mounts.map((mount) => (isCgroup(mount) ? change(mount) : mount)) };
}

/** Mounts in the node's cgroups are not included, as with a new mount. */
function nodeMount(mount: OciMount, root = "/sys/fs/cgroup"): OciMount {
  const options = ["bind", "rprivate", ...optionsOf(mount)];
  return { ...mount, type: "bind", source: root, options };
}

function writable(mount: OciMount): OciMount {
  const options = optionsOf(mount).map((option) => (option === "ro" ? "rw" : option));
  return { ...mount, options };
}

/** A mount of the handler's base may have none. */
function optionsOf({ options }: Partial<OciMount>): readonly string[] {
  return options ?? [];
}

/**
 * Only with nsdelegate the root of a cgroup namespace is a border that its own processes cannot write across
 * (Documentation/admin-guide/cgroup-v2.rst, "Delegation Containment").
 */
function checkDelegation({
  host,
  cgroupDelegated,
}: Pick<SpecInput, "cgroupDelegated" | "host">): void {
  const what = "the handler has cgroup_writable";
  if (host.cgroupVersion === 1) {
    refuseHere(`${what}, which needs cgroup v2, and this node has v1; set it to false`);
  }
  if (cgroupDelegated === true) return;
  const root = host.cgroupRoot ?? "/sys/fs/cgroup";
  refuseHere(
    `${what}, but cgroup v2 is mounted without nsdelegate, so that a container could change its own limits; run: mount -o remount,nsdelegate ${root}`,
  );
}
