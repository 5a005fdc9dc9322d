/** The name that davit's own AppArmor profile is loaded under. */
export const defaultApparmorName = "davit-default";

// Directories of /proc and /sys, by what a process could do to the node through them. What is named by
// a pid is left alone, and what the kernel adds later is root's and usually masked.
const procDirectories = [
  "acpi",
  "asound",
  "bus",
  "driver",
  "dynamic_debug",
  "fs",
  "irq",
  "scsi",
  "sysvipc",
  "tty",
];
const sysctlDirectories = ["abi", "crypto", "debug", "dev", "fs", "net", "sunrpc", "user", "vm"];
const sysDirectories = [
  "block",
  "bus",
  "class",
  "dev",
  "devices",
  "firmware",
  "hypervisor",
  "kernel",
  "module",
  "power",
];
// They disclose the node's memory, power or security modules.
const secrets = [
  "/proc/kcore",
  "/proc/kmem",
  "/proc/mem",
  "/sys/devices/virtual/powercap/**",
  "/sys/firmware/**",
  "/sys/kernel/security/**",
];

/**
 * The text of the default AppArmor profile (apparmor.d(5)): it denies
 * mounts, writes to /proc and /sys that affect the node, and ptrace or signals to processes outside the
 * profile. It includes no file, so that it loads on every
 * node. `runtimes` are names of profiles that an OCI runtime may itself run under: it must be able
 * to end its containers.
 */
export function defaultApparmor(runtimes: readonly string[] = ["crun", "runc"]): string {
  const self = defaultApparmorName;
  const deny = (path: string, access: string): string => `deny ${path} ${access},`;
  const rules = [
    "network,",
    // Also by socketcall, whose arguments a seccomp filter cannot read.
    "deny network alg,",
    "deny network vsock,",
    "capability,",
    "file,",
    "umount,",
    "signal (receive) peer=unconfined,",
    ...runtimes.map((runtime) => `signal (receive) peer=${runtime},`),
    `signal (send, receive) peer=${self},`,
    `ptrace (read, trace, readby, tracedby) peer=${self},`,
    "deny mount,",
    "deny pivot_root,",
    // Files at the top of /proc; /proc/self and /proc/mounts are links.
    deny("/proc/*", "w"),
    deny(`/proc/{${procDirectories.join(",")}}/**`, "w"),
    deny(`/proc/sys/{${sysctlDirectories.join(",")}}/**`, "w"),
    // All of kernel/ but the limits of shared memory, which are the pod's own.
    deny("/proc/sys/kernel/{[^s]*,s[^h]*,sh[^m]*,?,??}{,/**}", "w"),
    deny(`/sys/{${sysDirectories.join(",")}}/**`, "wklx"),
    // All of fs/ but the container's own cgroups.
    deny("/sys/fs/{[^c]*,c[^g]*,cg[^r]*}/**", "wklx"),
    deny("/proc/sysrq-trigger", "rwklx"),
    ...secrets.map((path) => deny(path, "rwklx")),
  ];
  const body = rules.map((rule) => `  ${rule}\n`).join("");
  return `profile ${self} flags=(attach_disconnected, mediate_deleted) {\n${body}}\n`;
}
