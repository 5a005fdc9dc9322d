import type { RuntimeFeatures } from "../core/handler/index.ts";
import { posix } from "node:path";
import { namespaceModes, podUsers, usesHostNetwork } from "../core/sandbox/index.ts";
import type { Mount } from "../gen/runtime/v1/api_pb.ts";
import { MountPropagation, NamespaceMode } from "../gen/runtime/v1/api_pb.ts";
import type { SpecInput } from "./input.ts";
import { requestedOptions } from "./mount-options.ts";
import { idMappings } from "./namespaces.ts";
import { quoted, refuse, refuseHere } from "./refuse.ts";
import type { OciLinux, OciMount } from "../core/oci/index.ts";

/** Mounts of a container, and what they need of the propagation of its root. */
interface ContainerMounts {
  readonly mounts: readonly OciMount[];
  readonly rootfsPropagation?: NonNullable<OciLinux["rootfsPropagation"]>;
}

/**
 * What is mounted in a container, in this order: the kernel's file systems; then the request's
 * mounts, the pod's own files and the image's volumes together, those with fewer path parts first,
 * so that none hides another. A file of the pod replaces a volume. A mount of the request replaces davit's
 * at the same path, and the kernel's file systems below it.
 */
export function containerMounts(
  input: Pick<
    SpecInput,
    "config" | "sandbox" | "sandboxFiles" | "mountSources" | "volumes" | "host" | "runtime"
  >,
): ContainerMounts {
  const { config, sandbox, mountSources, runtime } = input;
  const requested = config.mounts.map((mount, index) =>
    requestedMount(withIdsOfPod(mount, sandbox), mountSources[index], runtime),
  );
  const taken = new Set(requested.map((mount) => mount.destination));
  const files = sandboxMounts(input);
  const destinations = new Set(files.map((mount) => mount.destination));
  const volumes = input.volumes.filter(({ path }) => !destinations.has(path)).map(volumeMount);
  const ours = [...files, ...volumes].filter((mount) => !taken.has(mount.destination));
  const privileged = config.linux?.securityContext?.privileged ?? false;
  const kernel = kernelMounts(privileged, hasForeignNetwork(input)).filter(
    (mount) => !isHiddenBy(mount.destination, taken),
  );
  const binds = [...requested, ...ours].toSorted(
    (a, b) => depth(a.destination) - depth(b.destination),
  );
  const propagation = rootfsPropagation(config.mounts);
  return {
    mounts: [...kernel, ...binds],
    ...(propagation === undefined ? {} : { rootfsPropagation: propagation }),
  };
}

/** Path in the container for comparing and mounting: absolute, without `.`, `..` and double slashes. */
export function mountDestination(mount: Pick<Mount, "containerPath">): string {
  const path = posix.normalize(mount.containerPath);
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

function depth(path: string): number {
  return path.split("/").length;
}

function isHiddenBy(path: string, taken: ReadonlySet<string>): boolean {
  return [...taken].some((above) => path === above || path.startsWith(`${above}/`));
}

/**
 * The kernel's file systems, with the options that containerd and CRI-O use. cgroup is of type `cgroup` on
 * v1 and v2: the OCI runtime mounts what the node has. Only a privileged container may write to
 * sysfs and cgroups.
 */
function kernelMounts(privileged: boolean, bindSys: boolean): readonly OciMount[] {
  const access = privileged ? "rw" : "ro";
  const noneOfThem = ["nosuid", "noexec", "nodev"];
  return [
    { destination: "/proc", type: "proc", source: "proc", options: noneOfThem },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      // gid 5 is tty in every distribution's /etc/group; grantpt(3) expects it.
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: noneOfThem },
    bindSys
      ? {
          destination: "/sys",
          type: "bind",
          source: "/sys",
          options: ["rbind", "rprivate", ...noneOfThem, access],
        }
      : { destination: "/sys", type: "sysfs", source: "sysfs", options: [...noneOfThem, access] },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: [...noneOfThem, "relatime", access],
    },
  ];
}

/** The kernel mounts sysfs for the owner of the network namespace alone, and the node's is not this pod's. */
function hasForeignNetwork({ sandbox }: Pick<SpecInput, "sandbox">): boolean {
  return podUsers(sandbox.config) !== undefined && usesHostNetwork(sandbox.config);
}

/**
 * The pod's files, not writable where the root is not; /dev/shm always is. None of them is setuid, a device
 * or executable: the OCI runtime takes these options off the mounts if the spec does not name them. In the
 * node's own /dev/shm programs can be run where the node lets them.
 */
function sandboxMounts(
  input: Pick<SpecInput, "config" | "sandbox" | "sandboxFiles">,
): readonly OciMount[] {
  const { config, sandbox, sandboxFiles: files } = input;
  const access = config.linux?.securityContext?.readonlyRootfs === true ? "ro" : "rw";
  const hostIpc = namespaceModes(sandbox.config).ipc === NamespaceMode.NODE;
  const none = ["nosuid", "nodev", "noexec"];
  const destinations = [
    ["/etc/hostname", files.hostname, access, none],
    ["/etc/hosts", files.hosts, access, none],
    ["/etc/resolv.conf", files.resolvConf, access, none],
    hostIpc
      ? (["/dev/shm", "/dev/shm", "rw", ["nosuid", "nodev"]] as const)
      : (["/dev/shm", files.shm, "rw", none] as const),
  ] as const;
  return destinations.flatMap(([destination, source, mode, flags]) =>
    source === undefined
      ? []
      : [{ destination, type: "bind", source, options: ["rbind", "rprivate", mode, ...flags] }],
  );
}

/** Writable also where the root is not: images declare volumes for that. */
function volumeMount({ path, source }: SpecInput["volumes"][number]): OciMount {
  return { destination: path, type: "bind", source, options: ["rbind", "rprivate", "rw"] };
}

function requestedMount(
  mount: Mount,
  source: string | undefined,
  runtime: RuntimeFeatures,
): OciMount {
  if (source === undefined) {
    throw new RangeError(`make spec: mount ${quoted(mount.containerPath)} has no source`);
  }
  checkMountFeatures(mount, runtime);
  return {
    destination: mountDestination(mount),
    type: "bind",
    source,
    options: [
      ...new Set([
        ...["rbind", propagationOption(mount.propagation), ...accessOptions(mount)],
        ...requestedOptions(mount),
      ]),
    ],
    ...mappedIds(mount),
  };
}

/**
 * Where davit gave the pod ids of its own, its client does not know of mappings: each mount gets the pod's, as kubelet
 * asks for them in a pod with a user namespace. So files have the same owners in the container as on the node.
 */
function withIdsOfPod(mount: Mount, { config, ownIds }: SpecInput["sandbox"]): Mount {
  const { uidMappings, gidMappings } = mount;
  if (ownIds?.range === undefined || uidMappings.length + gidMappings.length > 0) return mount;
  const { uids, gids } = config.linux?.securityContext?.namespaceOptions?.usernsOptions ?? {};
  return { ...mount, uidMappings: uids ?? [], gidMappings: gids ?? [] };
}

/** The mappings suffice to make an ID-mapped mount. The option "idmap" is for mounts without mappings. */
function mappedIds({ image, uidMappings, gidMappings }: Mount): Partial<OciMount> {
  // An image volume's ids are mapped already, below the overlay; its mount cannot be.
  if (image !== undefined) return {};
  return {
    ...(uidMappings.length === 0 ? {} : { uidMappings: idMappings(uidMappings) }),
    ...(gidMappings.length === 0 ? {} : { gidMappings: idMappings(gidMappings) }),
  };
}

function accessOptions(mount: Mount): readonly string[] {
  // api.proto, Mount.image: image mounts are read-only. Programs in them can be run: KEP-4639 asked for noexec
  // once and does not any more.
  if (mount.image !== undefined) return ["ro", "nosuid", "nodev"];
  if (!mount.readonly) return ["rw"];
  return [mount.recursiveReadOnly ? "rro" : "ro"];
}

function propagationOption(propagation: MountPropagation): string {
  if (propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL) return "rshared";
  if (propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER) return "rslave";
  return "rprivate";
}

/** The root must pass on at least what one of its mounts does (mount_namespaces(7)). */
function rootfsPropagation(mounts: readonly Mount[]): "rshared" | "rslave" | undefined {
  const options = mounts.map((mount) => propagationOption(mount.propagation));
  if (options.includes("rshared")) return "rshared";
  return options.includes("rslave") ? "rslave" : undefined;
}

/**
 * Refuses with `failed-precondition` what the OCI runtime cannot mount. kubelet knows the marker
 * `RROUnsupported` (cri-api, pkg/errors).
 */
function checkMountFeatures(mount: Mount, runtime: RuntimeFeatures): void {
  if (mount.recursiveReadOnly && !runtime.mountOptions.includes("rro")) {
    refuseHere(
      `RROUnsupported: the OCI runtime cannot make mount ${quoted(mount.containerPath)} recursively read-only`,
    );
  }
  if (mount.uidMappings.length + mount.gidMappings.length > 0 && !runtime.idMappedMounts) {
    refuseHere(`the OCI runtime cannot map the ids of mount ${quoted(mount.containerPath)}`);
  }
}

/**
 * Refuses a propagation that the node's mounts do not allow: BIDIRECTIONAL needs a shared mount
 * under the source, HOST_TO_CONTAINER a shared or a slave one. `invalid-argument`.
 *
 * @param mountPoint mount point of the mount with the source
 * @param optional its optional fields in /proc/self/mountinfo: `shared:N`, `master:N`
 */
export function checkPropagation(
  mount: Pick<Mount, "propagation" | "hostPath">,
  mountPoint: string,
  optional: readonly string[],
): void {
  const option = propagationOption(mount.propagation);
  const has = (field: string): boolean => optional.some((one) => one.startsWith(`${field}:`));
  if (option === "rprivate" || has("shared") || (option === "rslave" && has("master"))) return;
  const wanted = option === "rshared" ? "shared" : "shared or slave";
  refuse(
    `mount of ${quoted(mount.hostPath)} needs a ${wanted} mount, but ${quoted(mountPoint)} is not one; run: mount --make-rshared ${mountPoint}`,
  );
}
