/**
 * Whether the kernel's file systems are at a path of a container, so that a mount there hides them:
 * /proc, /sys and /dev with all below. /dev/shm is not, it is memory for programs.
 */
export function isKernelPath(path: string): boolean {
  if (isAtOrBelow(path, "/dev/shm")) return false;
  return ["/proc", "/sys", "/dev"].some((top) => isAtOrBelow(path, top));
}

function isAtOrBelow(path: string, top: string): boolean {
  return path === top || path.startsWith(`${top}/`);
}

/**
 * The files of /proc that a request may mount something over: those that tools such as lxcfs
 * replace, and no others. runc allows the same ones (libcontainer, checkProcMount): a client that can
 * hide the rest decides what the runtime writes security labels and limits to (CVE-2019-16884).
 */
export const replaceableProcFiles: ReadonlySet<string> = new Set([
  "/proc/cpuinfo",
  "/proc/diskstats",
  "/proc/loadavg",
  "/proc/meminfo",
  "/proc/net/dev",
  "/proc/slabinfo",
  "/proc/stat",
  "/proc/swaps",
  "/proc/sys/crypto/fips_enabled",
  "/proc/sys/kernel/ns_last_pid",
  "/proc/uptime",
]);
