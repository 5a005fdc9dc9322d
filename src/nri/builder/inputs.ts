// What plugins give to the builder: the messages of NRI, where what has a default may be absent.
import type {
  Hooks,
  IOPrioClass,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  MpolFlag,
  MpolMode,
} from "../messages.ts";

/** A mount to add. */
export interface MountInput {
  readonly source: string;
  /** An absolute path in the container. */
  readonly destination: string;
  /** Default "bind". */
  readonly type?: string;
  /** As in mount(8), such as "rbind" and "ro". A bind mount needs "bind" or "rbind". */
  readonly options?: readonly string[];
}

/** A program for the OCI runtime to run. */
export interface HookInput {
  /** An absolute path on the node; for createContainer and startContainer see the OCI runtime spec. */
  readonly path: string;
  /** Arguments; the first one is the name of the program. */
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly timeoutSeconds?: number;
}

/** Hooks to add, by the time at which they run. */
export type HooksInput = { readonly [P in keyof Hooks]?: readonly HookInput[] };

/** A device node to add. */
export interface DeviceInput {
  /** An absolute path in the container. */
  readonly path: string;
  /** Character device, block device, FIFO, or unbuffered character device. */
  readonly type: "b" | "c" | "p" | "u";
  readonly major?: number;
  readonly minor?: number;
  /** Permissions, such as 0o660. */
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** A limit of setrlimit(2). */
export type RlimitType =
  | "RLIMIT_AS"
  | "RLIMIT_CORE"
  | "RLIMIT_CPU"
  | "RLIMIT_DATA"
  | "RLIMIT_FSIZE"
  | "RLIMIT_LOCKS"
  | "RLIMIT_MEMLOCK"
  | "RLIMIT_MSGQUEUE"
  | "RLIMIT_NICE"
  | "RLIMIT_NOFILE"
  | "RLIMIT_NPROC"
  | "RLIMIT_RSS"
  | "RLIMIT_RTPRIO"
  | "RLIMIT_RTTIME"
  | "RLIMIT_SIGPENDING"
  | "RLIMIT_STACK";

/** The values of a limit; the soft one is at most the hard one. */
export interface RlimitInput {
  readonly soft: number | bigint | "unlimited";
  readonly hard: number | bigint | "unlimited";
}

/** A type of namespaces in the OCI runtime spec. */
export type NamespaceType =
  | "pid"
  | "network"
  | "mount"
  | "ipc"
  | "uts"
  | "user"
  | "cgroup"
  | "time";

/** An I/O priority. */
export interface IOPriorityInput {
  readonly class: IOPrioClass;
  /** From 0 (highest) to 7. Default 0. */
  readonly priority?: number;
}

/** A scheduling policy and its attributes. */
export interface SchedulerInput {
  readonly policy: LinuxSchedulerPolicy;
  /** From -20 to 19. */
  readonly nice?: number;
  /** From 1 to 99, for SCHED_FIFO and SCHED_RR. */
  readonly priority?: number;
  readonly flags?: readonly LinuxSchedulerFlag[];
  /** Nanoseconds, for SCHED_DEADLINE. */
  readonly runtime?: number | bigint;
  readonly deadline?: number | bigint;
  readonly period?: number | bigint;
}

/** A memory policy. */
export interface MemoryPolicyInput {
  readonly mode: MpolMode;
  /** A list such as "0-1"; absent for modes without nodes. */
  readonly nodes?: string;
  readonly flags?: readonly MpolFlag[];
}

/** Settings of Intel RDT. */
export interface RdtInput {
  readonly closId?: string;
  /** Lines such as "L3:0=ff". */
  readonly schemata?: readonly string[];
  readonly enableMonitoring?: boolean;
}

/** A seccomp policy. */
export interface SeccompInput {
  /** Such as "SCMP_ACT_ERRNO". */
  readonly defaultAction: string;
  readonly defaultErrno?: number;
  /** Such as "SCMP_ARCH_X86_64". */
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly SyscallInput[];
}

/** A rule of a seccomp policy. */
export interface SyscallInput {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SeccompArgInput[];
}

/** A condition on an argument of a system call. */
export interface SeccompArgInput {
  /** From 0 to 5. */
  readonly index: number;
  readonly value: number | bigint;
  readonly valueTwo?: number | bigint;
  /** Such as "SCMP_CMP_EQ". */
  readonly op: string;
}
