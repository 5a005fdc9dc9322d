import { writeFileSync } from "node:fs";

/**
 * When memory is short, the kernel ends this process before pods, whatever the daemon's own value is
 * (proc_pid_oom_score_adj(5)): it reads what strangers wrote, and a pull can be repeated. Before chroot, which hides /proc.
 */
export function becomeFirstToKill(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "900");
  } catch {
    // Without /proc, as in tests of this program.
  }
}
