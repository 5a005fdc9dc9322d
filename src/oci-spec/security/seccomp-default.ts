import type { SpecHost } from "../input.ts";
import type { OciSeccomp, OciSyscallArg, OciSyscallRule } from "../../core/oci/index.ts";
import { ordinarySyscalls } from "./seccomp-syscalls.ts";

/** What the default profile depends on. */
export interface SeccompContext {
  /** The container's bounding set. */
  readonly capabilities: readonly string[];
  readonly arch: SpecHost["arch"];
  readonly kernel: SpecHost["kernel"];
  /** Whether socketcall is allowed. */
  readonly allowSocketcall: boolean;
}

/**
 * davit's default profile (RuntimeDefault): what is not named here fails with EPERM.
 *
 * It allows what ordinary programs need and what the kernel itself restricts well; a syscall that gives access
 * to the node, or acts on all of it, is allowed only with the capability that it requires. A name
 * that the runtime's libseccomp does not know yet is skipped by it, so the newest can be listed here.
 *
 * - clone: not with a namespace flag, as unshare and setns are missing; with CAP_SYS_ADMIN all.
 * - clone3: its flags are in memory that no filter can read, so it answers ENOSYS and the C
 *   library falls back to clone.
 * - socket: not AF_VSOCK (reaches a hypervisor past the network namespace) and not AF_ALG (the
 *   kernel's crypto API, which few need and many exploits began with).
 * - socketcall: the multiplexer of socket on 32-bit x86 before Linux 4.3. Its arguments are in memory,
 *   so that it would reach the two families; it answers ENOSYS unless the node's owner allows it.
 * - personality: only values that lower no protection: Linux, Linux32, both with UNAME26, and the
 *   query.
 * - ptrace, process_vm_readv and process_vm_writev: since 4.8 a tracer can no longer slip past a seccomp filter (seccomp(2)).
 */
export function defaultSeccomp(context: SeccompContext): OciSeccomp {
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: errno.EPERM,
    architectures: architectures[context.arch],
    syscalls: [
      allow(ordinarySyscalls),
      allow(archSyscalls[context.arch]),
      socketcallRule(context.allowSocketcall),
      ...socketRules(),
      ...personalityRules(),
      ...tracingRules(context.kernel),
      ...cloneRules(context.capabilities),
      ...capabilityRules(context.capabilities),
    ],
  };
}

const errno = { EPERM: 1, ENOSYS: 38 } as const;

/** A process can enter the kernel by each of these: all of them must be filtered. */
export const architectures: Readonly<Record<SpecHost["arch"], readonly string[]>> = {
  x64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
};

const archSyscalls: Readonly<Record<SpecHost["arch"], readonly string[]>> = {
  x64: ["arch_prctl", "modify_ldt"],
  arm64: [
    "arm_fadvise64_64",
    "arm_sync_file_range",
    "breakpoint",
    "cacheflush",
    "set_tls",
    "sync_file_range2",
  ],
};

function allow(names: readonly string[], args?: readonly OciSyscallArg[]): OciSyscallRule {
  return { names, action: "SCMP_ACT_ALLOW", ...(args === undefined ? {} : { args }) };
}

/**
 * It is not enough to leave socketcall out: for each rule of socket libseccomp allows socketcall with
 * the number of socket, for any family, unless a rule covers all of socketcall. And the answer is
 * not the default one, since runc ignores a rule with the default action.
 */
function socketcallRule(isAllowed: boolean): OciSyscallRule {
  if (isAllowed) return allow(["socketcall"]);
  return { names: ["socketcall"], action: "SCMP_ACT_ERRNO", errnoRet: errno.ENOSYS };
}

const afAlg = 38;
const afVsock = 40;

/**
 * Every family but two, as three ranges with one comparison each: runc makes several comparisons
 * of one argument into several rules, of which any one suffices, so "not 38 and not 40" would
 * allow both.
 */
function socketRules(): readonly OciSyscallRule[] {
  return [
    allow(["socket"], [{ index: 0, value: afAlg, op: "SCMP_CMP_LT" }]),
    allow(["socket"], [{ index: 0, value: afAlg + 1, op: "SCMP_CMP_EQ" }]),
    allow(["socket"], [{ index: 0, value: afVsock, op: "SCMP_CMP_GT" }]),
  ];
}

const perLinux = 0x0;
const perLinux32 = 0x8;
const uname26 = 0x20000;
const queryOnly = 0xffff_ffff;

function personalityRules(): readonly OciSyscallRule[] {
  return [perLinux, perLinux32, uname26, uname26 | perLinux32, queryOnly].map((value) =>
    allow(["personality"], [{ index: 0, value, op: "SCMP_CMP_EQ" }]),
  );
}

const tracing = ["process_vm_readv", "process_vm_writev", "ptrace"];

function tracingRules([major, minor]: SpecHost["kernel"]): readonly OciSyscallRule[] {
  return major > 4 || (major === 4 && minor >= 8) ? [allow(tracing)] : [];
}

// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (include/uapi/linux/sched.h).
// NEWTIME shares its bit with clone's exit signal and works only with clone3 and unshare.
const namespaceFlags = 0x7e02_0000;

function cloneRules(capabilities: readonly string[]): readonly OciSyscallRule[] {
  if (capabilities.includes("CAP_SYS_ADMIN")) return [allow(["clone", "clone3"])];
  const noNamespace: OciSyscallArg = {
    index: 0,
    value: namespaceFlags,
    valueTwo: 0,
    op: "SCMP_CMP_MASKED_EQ",
  };
  return [
    allow(["clone"], [noNamespace]),
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: errno.ENOSYS },
  ];
}

/** Syscalls that come with a capability: without it the kernel refuses them, or should. */
export const capabilitySyscalls: Readonly<Record<string, readonly string[]>> = {
  CAP_BPF: ["bpf"],
  CAP_DAC_READ_SEARCH: ["open_by_handle_at"],
  CAP_PERFMON: ["perf_event_open"],
  CAP_SYSLOG: ["syslog"],
  CAP_SYS_ADMIN: [
    "bpf",
    "fanotify_init",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "perf_event_open",
    "quotactl",
    "quotactl_fd",
    "setdomainname",
    "sethostname",
    "setns",
    "syslog",
    "umount",
    "umount2",
    "unshare",
  ],
  CAP_SYS_BOOT: ["reboot"],
  CAP_SYS_CHROOT: ["chroot"],
  CAP_SYS_MODULE: ["delete_module", "finit_module", "init_module"],
  CAP_SYS_NICE: ["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"],
  CAP_SYS_PACCT: ["acct"],
  CAP_SYS_PTRACE: ["kcmp", "pidfd_getfd", "process_madvise", ...tracing],
  CAP_SYS_RAWIO: ["ioperm", "iopl"],
  CAP_SYS_TIME: ["clock_settime", "clock_settime64", "settimeofday", "stime"],
  CAP_SYS_TTY_CONFIG: ["vhangup"],
};

function capabilityRules(capabilities: readonly string[]): readonly OciSyscallRule[] {
  const names = new Set(capabilities.flatMap((name) => capabilitySyscalls[name] ?? []));
  return names.size === 0 ? [] : [allow([...names].toSorted())];
}
