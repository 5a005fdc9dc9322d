// The messages of NRI as plain values: what plugins receive. The names are those of NRI's protocol, in camel case.
//
// One rule for all of them: a list or a map that is absent is empty, an absent string is "", and an absent message or
// optional number is undefined. 64-bit numbers are bigints, because a limit of "unlimited" is larger than a number
// can hold exactly. A value of an enumeration that this version does not know is its number, as a string.

/** A pod. */
export interface PodSandbox {
  readonly id: string;
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** The handler of the RuntimeClass; "" is the default one. */
  readonly runtimeHandler: string;
  readonly linux?: LinuxPodSandbox;
  /** The pause process; 0 where the runtime has none. davit has none. */
  readonly pid: number;
  /** The addresses in the pod's network, once it has some. */
  readonly ips: readonly string[];
}

/** What is specific to Linux in a pod. */
export interface LinuxPodSandbox {
  readonly podOverhead?: LinuxResources;
  readonly podResources?: LinuxResources;
  readonly cgroupParent: string;
  readonly cgroupsPath: string;
  readonly namespaces: readonly LinuxNamespace[];
  readonly resources?: LinuxResources;
}

/** The state of a container. */
export type ContainerState =
  | "CONTAINER_UNKNOWN"
  | "CONTAINER_CREATED"
  | "CONTAINER_PAUSED"
  | "CONTAINER_RUNNING"
  | "CONTAINER_STOPPED";

/** A container: in createContainer as requested, with the changes of the plugins before this one. */
export interface Container {
  readonly id: string;
  readonly podSandboxId: string;
  readonly name: string;
  readonly state: ContainerState;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly args: readonly string[];
  /** Each as `NAME=value`. */
  readonly env: readonly string[];
  readonly mounts: readonly Mount[];
  readonly hooks?: Hooks;
  readonly linux?: LinuxContainer;
  /** The first process; 0 while it does not run. */
  readonly pid: number;
  readonly rlimits: readonly POSIXRlimit[];
  /** Nanoseconds since 1970; 0 if it has not happened, or the runtime does not report it. */
  readonly createdAt: bigint;
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly exitCode: number;
  readonly statusReason: string;
  readonly statusMessage: string;
  readonly cdiDevices: readonly CDIDevice[];
  readonly user?: User;
  /** Since NRI 0.12. */
  readonly image?: Image;
}

/** The image of a container. */
export interface Image {
  readonly name: string;
  readonly digest: string;
  readonly configDigest: string;
}

/** A mount. In an adjustment, a destination that begins with "-" removes the mount. */
export interface Mount {
  /** The absolute path in the container. */
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** The OCI hooks of a container. */
export interface Hooks {
  readonly prestart: readonly Hook[];
  readonly createRuntime: readonly Hook[];
  readonly createContainer: readonly Hook[];
  readonly startContainer: readonly Hook[];
  readonly poststart: readonly Hook[];
  readonly poststop: readonly Hook[];
}

/** A program that the OCI runtime runs. */
export interface Hook {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds. */
  readonly timeout?: bigint;
}

/** What is specific to Linux in a container. */
export interface LinuxContainer {
  readonly namespaces: readonly LinuxNamespace[];
  readonly devices: readonly LinuxDevice[];
  readonly resources?: LinuxResources;
  readonly oomScoreAdj?: bigint;
  readonly cgroupsPath: string;
  readonly ioPriority?: LinuxIOPriority;
  readonly seccompProfile?: SecurityProfile;
  readonly seccompPolicy?: LinuxSeccomp;
  readonly sysctl: Readonly<Record<string, string>>;
  /** By the name of the interface on the host. */
  readonly netDevices: Readonly<Record<string, LinuxNetDevice>>;
  readonly scheduler?: LinuxScheduler;
  readonly rdt?: LinuxRdt;
}

/** A namespace; without a path it is a new one. In an adjustment, a type that begins with "-" removes it. */
export interface LinuxNamespace {
  readonly type: string;
  readonly path: string;
}

/** A device node. In an adjustment, a path that begins with "-" removes it. */
export interface LinuxDevice {
  readonly path: string;
  readonly type: string;
  readonly major: bigint;
  readonly minor: bigint;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** A rule of the device cgroup. */
export interface LinuxDeviceCgroup {
  readonly allow: boolean;
  readonly type: string;
  /** Absent: all. */
  readonly major?: bigint;
  readonly minor?: bigint;
  readonly access: string;
}

/** A device by its CDI name, `vendor/class=device`. */
export interface CDIDevice {
  readonly name: string;
}

/** The user of a container's first process. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

/** The limits of a container or pod. */
export interface LinuxResources {
  readonly memory?: LinuxMemory;
  readonly cpu?: LinuxCPU;
  readonly hugepageLimits: readonly HugepageLimit[];
  readonly blockioClass?: string;
  readonly rdtClass?: string;
  /** Files of cgroup v2 and their values. */
  readonly unified: Readonly<Record<string, string>>;
  readonly devices: readonly LinuxDeviceCgroup[];
  readonly pids?: LinuxPids;
}

/** Limits of memory, in bytes. */
export interface LinuxMemory {
  readonly limit?: bigint;
  readonly reservation?: bigint;
  /** Memory and swap together. */
  readonly swap?: bigint;
  readonly kernel?: bigint;
  readonly kernelTcp?: bigint;
  readonly swappiness?: bigint;
  readonly disableOomKiller?: boolean;
  readonly useHierarchy?: boolean;
}

/** Limits of CPU time; quota and periods in microseconds. */
export interface LinuxCPU {
  readonly shares?: bigint;
  readonly quota?: bigint;
  readonly period?: bigint;
  readonly realtimeRuntime?: bigint;
  readonly realtimePeriod?: bigint;
  /** A list such as "0-3,8"; "" sets none. */
  readonly cpus: string;
  readonly mems: string;
}

/** A limit of huge pages of one size, such as "2MB". */
export interface HugepageLimit {
  readonly pageSize: string;
  /** Bytes. */
  readonly limit: bigint;
}

/** The seccomp profile that the pod asks for. */
export interface SecurityProfile {
  readonly profileType: "RUNTIME_DEFAULT" | "UNCONFINED" | "LOCALHOST";
  readonly localhostRef: string;
}

/** A limit of setrlimit(2). Unlimited is 2 ** 64 - 1. */
export interface POSIXRlimit {
  readonly type: string;
  readonly hard: bigint;
  readonly soft: bigint;
}

/** The limit of processes; -1 is unlimited. */
export interface LinuxPids {
  readonly limit: bigint;
}

/** The class of ioprio_set(2). */
export type IOPrioClass =
  | "IOPRIO_CLASS_NONE"
  | "IOPRIO_CLASS_RT"
  | "IOPRIO_CLASS_BE"
  | "IOPRIO_CLASS_IDLE";

/** The priority of ioprio_set(2). */
export interface LinuxIOPriority {
  readonly class: IOPrioClass;
  readonly priority: number;
}

/** A network device of the host that is moved into the container. */
export interface LinuxNetDevice {
  /** Its name in the container. */
  readonly name: string;
}

/** The policy of sched_setattr(2). */
export type LinuxSchedulerPolicy =
  | "SCHED_NONE"
  | "SCHED_OTHER"
  | "SCHED_FIFO"
  | "SCHED_RR"
  | "SCHED_BATCH"
  | "SCHED_ISO"
  | "SCHED_IDLE"
  | "SCHED_DEADLINE";

/** A flag of sched_setattr(2). */
export type LinuxSchedulerFlag =
  | "SCHED_FLAG_RESET_ON_FORK"
  | "SCHED_FLAG_RECLAIM"
  | "SCHED_FLAG_DL_OVERRUN"
  | "SCHED_FLAG_KEEP_POLICY"
  | "SCHED_FLAG_KEEP_PARAMS"
  | "SCHED_FLAG_UTIL_CLAMP_MIN"
  | "SCHED_FLAG_UTIL_CLAMP_MAX";

/** The attributes of sched_setattr(2); times in nanoseconds. */
export interface LinuxScheduler {
  readonly policy: LinuxSchedulerPolicy;
  readonly nice: number;
  readonly priority: number;
  readonly flags: readonly LinuxSchedulerFlag[];
  readonly runtime: bigint;
  readonly deadline: bigint;
  readonly period: bigint;
}

/** A seccomp policy, as in the OCI runtime spec. */
export interface LinuxSeccomp {
  readonly defaultAction: string;
  readonly defaultErrno?: number;
  readonly architectures: readonly string[];
  readonly flags: readonly string[];
  readonly listenerPath: string;
  readonly listenerMetadata: string;
  readonly syscalls: readonly LinuxSyscall[];
}

/** A rule of a seccomp policy. */
export interface LinuxSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args: readonly LinuxSeccompArg[];
}

/** A condition on an argument of a system call. */
export interface LinuxSeccompArg {
  readonly index: number;
  readonly value: bigint;
  readonly valueTwo: bigint;
  readonly op: string;
}

/** The mode of set_mempolicy(2). */
export type MpolMode =
  | "MPOL_DEFAULT"
  | "MPOL_PREFERRED"
  | "MPOL_BIND"
  | "MPOL_INTERLEAVE"
  | "MPOL_LOCAL"
  | "MPOL_PREFERRED_MANY"
  | "MPOL_WEIGHTED_INTERLEAVE";

/** A flag of set_mempolicy(2). */
export type MpolFlag = "MPOL_F_STATIC_NODES" | "MPOL_F_RELATIVE_NODES" | "MPOL_F_NUMA_BALANCING";

/** The policy of set_mempolicy(2). */
export interface LinuxMemoryPolicy {
  readonly mode: MpolMode;
  /** A list such as "0-1". */
  readonly nodes: string;
  readonly flags: readonly MpolFlag[];
}

/** Intel RDT by resctrl. */
export interface LinuxRdt {
  readonly closId?: string;
  readonly schemata?: readonly string[];
  readonly enableMonitoring?: boolean;
  /** All settings of RDT are removed first. */
  readonly remove: boolean;
}
