import { CgroupMountMode } from "../../gen/runtime/v1/api_pb.ts";
import type {
  ContainerConfig,
  LinuxContainerSecurityContext,
} from "../../gen/runtime/v1/api_pb.ts";
import type { SpecInput } from "../input.ts";
import { refuse, refuseHere } from "../refuse.ts";
import type { OciMount, OciSpec } from "../../core/oci/index.ts";

/**
 * Changes the mounts of cgroups in a spec that is complete otherwise.
 *
 * A container of cgroup v2 without a cgroup namespace gets the node's own mount. A new mount would have
 * the same superblock, whose options are those of the latest mount from the first cgroup namespace
 * (apply_cgroup_root_flags() in kernel/cgroup/cgroup.c): the node would lose nsdelegate and
 * memory_recursiveprot. Naming these options in the spec does not help: crun 1.21 does not pass them on.
 *
 * Where the request or else the handler says so (`cgroup_mount_mode`, `cgroup_writable`), a container may write to
 * its own cgroup. `failed-precondition` if it could then change its own limits. A privileged container writes to all
 * cgroups anyway.
 */
export function withCgroupMounts(
  spec: OciSpec,
  input: Pick<SpecInput, "cgroupWritable" | "cgroupDelegated" | "config" | "host">,
): OciSpec {
  const { host, config } = input;
  const mode = mountMode(config);
  if (mode === CgroupMountMode.WRITABLE) {
    checkDelegation("security_context.cgroup_mount_mode is WRITABLE", input);
  }
  const hasNamespace = spec.linux.namespaces.some(({ type }) => type === "cgroup");
  if (host.cgroupVersion === 2 && !hasNamespace) {
    return changed(spec, (mount) => nodeMount(mount, host.cgroupRoot));
  }
  if (config.linux?.securityContext?.privileged === true) return spec;
  if (mode === CgroupMountMode.READ_ONLY) return changed(spec, (mount) => withAccess(mount, "ro"));
  if (mode === CgroupMountMode.WRITABLE) return changed(spec, (mount) => withAccess(mount, "rw"));
  if (input.cgroupWritable !== true) return spec;
  checkDelegation("the handler has cgroup_writable", input, "; set it to false");
  return changed(spec, (mount) => withAccess(mount, "rw"));
}

/** Whether a container may write to its cgroup; `byHandler` is what its handler says. */
export function writesCgroups(config: ContainerConfig, byHandler: boolean): boolean {
  const mode = mountMode(config);
  return mode === CgroupMountMode.UNSPECIFIED ? byHandler : mode === CgroupMountMode.WRITABLE;
}

/** Refuses with `invalid-argument` a mode that is unknown, or that a privileged container would not keep to. */
export function checkCgroupMountMode(context: LinuxContainerSecurityContext): void {
  const mode: number = context.cgroupMountMode;
  if (!Object.values<number>(CgroupMountMode).includes(mode)) {
    refuse(`security_context.cgroup_mount_mode is ${mode}, which is unknown`);
  }
  if (mode === CgroupMountMode.READ_ONLY && context.privileged) {
    refuse(
      "security_context.cgroup_mount_mode is READ_ONLY, but a privileged container can write to all cgroups",
    );
  }
}

function mountMode(config: ContainerConfig): CgroupMountMode {
  return config.linux?.securityContext?.cgroupMountMode ?? CgroupMountMode.UNSPECIFIED;
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

function withAccess(mount: OciMount, access: "ro" | "rw"): OciMount {
  const others = optionsOf(mount).filter((option) => !["ro", "rw"].includes(option));
  return { ...mount, options: [...others, access] };
}

/** A mount of the handler's base may have none. */
function optionsOf({ options }: Partial<OciMount>): readonly string[] {
  return options ?? [];
}

/**
 * Only with nsdelegate the root of a cgroup namespace is a border that its own processes cannot write across
 * (Documentation/admin-guide/cgroup-v2.rst, "Delegation Containment").
 */
function checkDelegation(
  what: string,
  { host, cgroupDelegated }: Pick<SpecInput, "cgroupDelegated" | "host">,
  advice = "",
): void {
  if (host.cgroupVersion === 1) {
    refuseHere(`${what}, which needs cgroup v2, and this node has v1${advice}`);
  }
  if (cgroupDelegated === true) return;
  const root = host.cgroupRoot ?? "/sys/fs/cgroup";
  refuseHere(
    `${what}, but cgroup v2 is mounted without nsdelegate, so that a container could change its own limits; run: mount -o remount,nsdelegate ${root}`,
  );
}
