import type { RuntimeFeatures } from "../core/handler/index.ts";
import type { ContainerUser } from "../core/container/index.ts";
import type { ImageConfig } from "../core/image/index.ts";
import type { Sandbox } from "../core/sandbox/index.ts";
import type { ContainerAdjustment } from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { ContainerConfig, LinuxContainerResources } from "../gen/runtime/v1/api_pb.ts";
import type { BaseSpec } from "./handler/base-spec.ts";
import type { CdiEdits } from "./cdi/cdi.ts";
import type { GrantedDevice, HostDevice } from "./devices.ts";
import type { HookDefinition } from "./handler/hooks.ts";
import type { IntelRdt, OciBlockIo, OciRlimit, OciSeccomp } from "../core/oci/index.ts";

/** The labels of a container. Without a process label it runs as the policy has it for its runtime. */
export interface ContainerLabels {
  readonly process?: string;
  readonly mount: string;
}

/** Everything that a container's spec is made of. All I/O was done by the caller. */
export interface SpecInput {
  readonly containerId: string;
  readonly sandbox: Pick<Sandbox, "id" | "config" | "ownIds">;
  /** Paths of the pod's pinned namespaces; one is missing where the pod uses the host's. */
  readonly sandboxPins: NamespacePins;
  /** Process that holds the pod's PID namespace, if any. */
  readonly sandboxPid?: number | undefined;
  /** First process of the container that `target_id` names. */
  readonly targetPid?: number | undefined;
  /** Files of the pod that are mounted unless the request has a mount at their paths. */
  readonly sandboxFiles: SandboxFiles;
  /** A config that passed checkContainerConfig(). */
  readonly config: ContainerConfig;
  /** The resources in force, where they were updated since; else those of the config count. */
  readonly resources?: LinuxContainerResources | undefined;
  readonly image: ImageConfig;
  /** A name of the image to show to tools. */
  readonly imageName: string;
  /** Absolute path of the mounted root. */
  readonly rootfs: string;
  /** The user, resolved in the mounted root (passwd(5), group(5)), with the request's groups. */
  readonly user: ContainerUser;
  /**
   * The value of `linux.cgroupsPath`: a path below each hierarchy's root, or
   * `slice:cri-containerd:<id>` for a runtime with the systemd cgroup driver.
   */
  readonly cgroupPath: string;
  /**
   * One for each mount of the config, in its order: the host path with symbolic links followed and
   * made where it was missing, or the mounted image. Propagation of its mount was checked
   * (checkPropagation()), and where SELinux is on it was labelled.
   */
  readonly mountSources: readonly string[];
  /** Volumes that the image declares, with their directories on the host. */
  readonly volumes: readonly { readonly path: string; readonly source: string }[];
  /** What the CDI devices of the request add, with the numbers of their nodes. */
  readonly cdi?: CdiEdits | undefined;
  /** What plugins adjust. The propagation of their mounts was checked. */
  readonly adjust?: PluginAdjustments | undefined;
  /** The request's devices belong to the request's user (run_as_user, run_as_group). */
  readonly devicesOfUser?: boolean | undefined;
  /** The devices of the config: links followed, directories expanded, numbers read. */
  readonly devices: readonly GrantedDevice[];
  /** All devices of the host for a privileged container; undefined withholds them. */
  readonly hostDevices?: readonly HostDevice[] | undefined;
  /** Whether the default seccomp profile allows socketcall, which 32-bit x86 programs may need. */
  readonly allowSocketcall?: boolean | undefined;
  /** The profile that `localhost_ref` names, from parseSeccompProfile(). */
  readonly localhostSeccomp?: OciSeccomp | undefined;
  /** The profile of the handler that RuntimeDefault means, from parseSeccompProfile(); undefined for davit's own. */
  readonly handlerSeccomp?: OciSeccomp | undefined;
  /** Whether the writable layer has a limit, which is of its project: the container may not change projects. */
  readonly isLayerLimited?: boolean | undefined;
  /** Name of the loaded AppArmor profile to run under. Dropped for a privileged container. */
  readonly apparmorProfile?: string | undefined;
  /** The limits of the class of block I/O that the request names. */
  readonly blockIo?: OciBlockIo | undefined;
  /** The RDT class that the request names. */
  readonly intelRdt?: IntelRdt | undefined;
  /** From containerLabels(), where SELinux is on. */
  readonly selinux?: ContainerLabels | undefined;
  readonly rlimits?: readonly OciRlimit[] | undefined;
  /** pids.max of the container, where its pod asks for one. */
  readonly pidsLimit?: bigint | undefined;
  /** Annotations of pod and container that the handler lets through. Ours win over them. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** The handler's spec to begin with, from parseBaseSpec(). */
  readonly base?: BaseSpec | undefined;
  /** The files of the handler's hooks directory in their order, from parseHook(). */
  readonly hooks?: readonly HookDefinition[] | undefined;
  /** Whether the handler's containers may write to their cgroups. */
  readonly cgroupWritable?: boolean | undefined;
  /** Whether the node's cgroup v2 is mounted with nsdelegate; looked up only for `cgroupWritable`. */
  readonly cgroupDelegated?: boolean | undefined;
  /** Whether a privileged container without host devices may use what it makes itself. */
  readonly allDevicesAllowed?: boolean | undefined;
  readonly host: SpecHost;
  readonly runtime: RuntimeFeatures;
}

/** The adjustments of the plugins of the node (NRI) for a container, with what they need from the host. */
export interface PluginAdjustments {
  /** Without the resources that the CRI has: those are among the container's resources. */
  readonly adjustment: ContainerAdjustment;
  /** What the CDI devices of the adjustments add, with the numbers of their nodes. */
  readonly cdi?: CdiEdits | undefined;
  /** The limits of the class of block I/O that they name. */
  readonly blockIo?: OciBlockIo | undefined;
  /** The RDT class that they name. */
  readonly intelRdt?: IntelRdt | undefined;
}

/** Namespaces of a pod that are pinned by a bind mount. */
interface NamespacePins {
  readonly net?: string | undefined;
  readonly ipc?: string | undefined;
  readonly uts?: string | undefined;
  /** Missing where the pod's ids are the node's. */
  readonly user?: string | undefined;
}

/** Paths of a pod's own files; one that is missing is not mounted. */
interface SandboxFiles {
  readonly resolvConf?: string | undefined;
  readonly hosts?: string | undefined;
  readonly hostname?: string | undefined;
  /** Directory of the pod's /dev/shm. */
  readonly shm?: string | undefined;
}

/** What a spec depends on of the machine. Read once by the daemon. */
export interface SpecHost {
  readonly cgroupVersion: 1 | 2;
  /** Where the tree of v2 is mounted; undefined on v1. */
  readonly cgroupRoot?: string | undefined;
  /** memory.memsw.limit_in_bytes (v1) or memory.swap.max (v2) exists. */
  readonly hasSwapController: boolean;
  /** Page sizes that the hugetlb controller counts, as `2MB`; empty without the controller. */
  readonly hugepageSizes: readonly string[];
  /** The daemon's own bounding set, as `CAP_` names (CapBnd of /proc/self/status). */
  readonly capabilities: readonly string[];
  /** Node's process.arch. */
  readonly arch: "x64" | "arm64";
  /** Version of the kernel: 6.12 is [6, 12]. */
  readonly kernel: readonly [major: number, minor: number];
  /** fs.nr_open, the highest limit of open files that the kernel accepts (proc_sys_fs(5)). */
  readonly maxOpenFiles?: bigint | undefined;
  /**
   * Hard limits of the daemon by their `RLIMIT_` names, which it cannot exceed for a container: only without
   * CAP_SYS_RESOURCE (getrlimit(2)).
   */
  readonly hardLimits?: Readonly<Record<string, bigint>> | undefined;
  /** The node's hostname. */
  readonly hostname: string;
  /**
   * Lowest oom_score_adj that the daemon may set: its own one without CAP_SYS_RESOURCE, else
   * undefined (proc_pid_oom_score_adj(5)).
   */
  readonly oomScoreAdjFloor?: number | undefined;
}
