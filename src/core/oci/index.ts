// The parts of the OCI runtime-spec 1.1, and of later ones, that davit writes: github.com/opencontainers/runtime-spec,
// config.md and config-linux.md. Imports nothing. Specs travel as these values; the driver that passes
// one to an OCI runtime serializes it (specText() of oci-spec). Absent fields are left out of the JSON.
// Quantities that need 64 bits are bigint, and JSON numbers there.

/** A container as an OCI runtime reads it: config.json. */
export interface OciSpec {
  readonly ociVersion: string;
  readonly root: { readonly path: string; readonly readonly?: boolean };
  readonly process: OciProcess;
  readonly mounts: readonly OciMount[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly hooks?: OciHooks;
  readonly linux: OciLinux;
}

/** Programs that the runtime runs, by their stage. */
export type OciHooks = { readonly [Stage in OciHookStage]?: readonly OciHook[] };

/** The points of a container's life at which hooks run (runtime-spec, config.md, POSIX-platform Hooks). */
export const hookStages = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
] as const;

/** When a hook runs. */
export type OciHookStage = (typeof hookStages)[number];

/** A program, by its absolute path on the host; `args` begins with its name. */
export interface OciHook {
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds. */
  readonly timeout?: number;
}

/** A process of a container: its first one, or one that joins it (exec). */
export interface OciProcess {
  readonly terminal?: boolean;
  /** Size of the terminal, in characters. */
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly user: OciUser;
  readonly args: readonly string[];
  /** `KEY=value`, each key once. */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: OciCapabilities;
  readonly noNewPrivileges?: boolean;
  readonly oomScoreAdj?: number;
  readonly rlimits?: readonly OciRlimit[];
  /** CPUs of a process that joins a container: before it is in the container's cgroup, and after. */
  readonly execCPUAffinity?: { readonly initial?: string; readonly final?: string };
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
  readonly scheduler?: OciScheduler;
  readonly ioPriority?: OciIoPriority;
}

/** A policy of sched(7). Times in nanoseconds. */
export interface OciScheduler {
  /** `SCHED_FIFO`... */
  readonly policy: string;
  readonly nice?: number;
  readonly priority?: number;
  readonly flags?: readonly string[];
  readonly runtime?: bigint;
  readonly deadline?: bigint;
  readonly period?: bigint;
}

/** A class of ioprio_set(2), `IOPRIO_CLASS_BE`..., and the priority in it: 0, the highest, to 7. */
export interface OciIoPriority {
  readonly class: string;
  readonly priority: number;
}

/** Numeric user, group and further groups, as the container's user namespace numbers them. */
export interface OciUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids?: readonly number[];
}

/** The five sets of capabilities(7), by their `CAP_` names. */
export interface OciCapabilities {
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly permitted: readonly string[];
  readonly inheritable?: readonly string[];
  readonly ambient?: readonly string[];
}

/** A limit of getrlimit(2). */
export interface OciRlimit {
  /** `RLIMIT_NOFILE`... */
  readonly type: string;
  readonly hard: bigint;
  readonly soft: bigint;
}

/** A range of ids and where it begins on the host. */
export interface OciIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** A mount below the container's root. */
export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
  readonly uidMappings?: readonly OciIdMapping[];
  readonly gidMappings?: readonly OciIdMapping[];
}

/** Cache and memory bandwidth of a container (config-linux.md, intelRdt). */
export type IntelRdt = Readonly<Record<string, string | boolean | readonly string[]>>;

/** The Linux part of a container. */
export interface OciLinux {
  readonly namespaces: readonly OciNamespace[];
  readonly uidMappings?: readonly OciIdMapping[];
  readonly gidMappings?: readonly OciIdMapping[];
  readonly cgroupsPath: string;
  readonly resources: OciResources;
  readonly devices?: readonly OciDevice[];
  readonly seccomp?: OciSeccomp;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly rootfsPropagation?: "rshared" | "rslave";
  readonly mountLabel?: string;
  readonly intelRdt?: IntelRdt;
  readonly sysctl?: Readonly<Record<string, string>>;
  /** Network interfaces of the host, by name, that are moved into the container (runtime-spec 1.3). */
  readonly netDevices?: Readonly<Record<string, { readonly name?: string }>>;
  readonly memoryPolicy?: OciMemoryPolicy;
}

/** A policy of set_mempolicy(2) (runtime-spec 1.3). */
export interface OciMemoryPolicy {
  /** `MPOL_BIND`... */
  readonly mode: string;
  /** A list as `0-3,7`. */
  readonly nodes: string;
  readonly flags?: readonly string[];
}

/** A namespace other than the runtime's own: joined at `path`, new without one. */
export interface OciNamespace {
  readonly type: "pid" | "network" | "ipc" | "uts" | "mount" | "user" | "cgroup";
  readonly path?: string;
}

/** A device node that the runtime makes. */
export interface OciDevice {
  readonly path: string;
  readonly type: "c" | "b" | "u" | "p";
  readonly major: number;
  readonly minor: number;
  /** Permission bits. */
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A rule of the device cgroup; a missing type, major or minor matches all. */
export interface OciDeviceRule {
  readonly allow: boolean;
  readonly type?: "a" | "c" | "b";
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

/** Limits; missing ones are not changed. */
export interface OciResources {
  readonly devices?: readonly OciDeviceRule[];
  readonly cpu?: OciCpu;
  readonly memory?: OciMemory;
  readonly pids?: { readonly limit: bigint };
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: bigint }[];
  readonly blockIO?: OciBlockIo;
  readonly unified?: Readonly<Record<string, string>>;
}

/** Limits of I/O to block devices. Weights are from 10 to 1000, as those of cgroup v1. */
export interface OciBlockIo {
  readonly weight?: number;
  readonly weightDevice?: readonly (OciBlockDevice & { readonly weight: number })[];
  readonly throttleReadBpsDevice?: readonly OciThrottle[];
  readonly throttleWriteBpsDevice?: readonly OciThrottle[];
  readonly throttleReadIOPSDevice?: readonly OciThrottle[];
  readonly throttleWriteIOPSDevice?: readonly OciThrottle[];
}

/** The numbers of a block device. */
export interface OciBlockDevice {
  readonly major: number;
  readonly minor: number;
}

/** The most bytes or operations per second of a device. */
export interface OciThrottle extends OciBlockDevice {
  readonly rate: bigint;
}

/** Limits of CPU. Quota and period in microseconds. */
export interface OciCpu {
  readonly shares?: bigint;
  readonly quota?: bigint;
  readonly period?: bigint;
  readonly cpus?: string;
  readonly mems?: string;
  /** Cgroup v1 only, as the period. */
  readonly realtimeRuntime?: bigint;
  readonly realtimePeriod?: bigint;
}

/** Limits of memory. Bytes. */
export interface OciMemory {
  readonly limit?: bigint;
  /** Memory and swap together, on cgroup v1 and v2 alike. */
  readonly swap?: bigint;
  readonly reservation?: bigint;
  /** Cgroup v1 only, as the following ones. */
  readonly kernel?: bigint;
  readonly kernelTCP?: bigint;
  readonly swappiness?: bigint;
  readonly disableOOMKiller?: boolean;
  readonly useHierarchy?: boolean;
}

/** What a seccomp rule can do (config-linux.md, "Seccomp"). */
export const seccompActions = [
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_ERRNO",
  "SCMP_ACT_KILL",
  "SCMP_ACT_KILL_PROCESS",
  "SCMP_ACT_KILL_THREAD",
  "SCMP_ACT_LOG",
  "SCMP_ACT_NOTIFY",
  "SCMP_ACT_TRACE",
  "SCMP_ACT_TRAP",
] as const;

/** What a seccomp rule does. */
export type OciSeccompAction = (typeof seccompActions)[number];

/** How seccomp rules can compare arguments (config-linux.md, "Seccomp"). */
export const seccompOperators = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;

/** How a seccomp rule compares an argument. */
export type OciSeccompOperator = (typeof seccompOperators)[number];

/** A seccomp filter by names; the runtime compiles it. */
export interface OciSeccomp {
  readonly defaultAction: OciSeccompAction;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly OciSyscallRule[];
}

/** Syscalls that one action holds for, when all `args` compare so. */
export interface OciSyscallRule {
  readonly names: readonly string[];
  readonly action: OciSeccompAction;
  readonly errnoRet?: number;
  readonly args?: readonly OciSyscallArg[];
}

/** A comparison of one argument; for MASKED_EQ `value` is the mask and `valueTwo` the datum. */
export interface OciSyscallArg {
  readonly index: number;
  readonly value: number | bigint;
  readonly valueTwo?: number | bigint;
  readonly op: OciSeccompOperator;
}
