import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";

import { systemError } from "../../base/system-error.ts";

/** The id of this boot of the host (random(4)). Processes and mounts in the records of another boot do not exist. */
export function hostBootId(): string {
  const path = "/proc/sys/kernel/random/boot_id";
  try {
    return readFileSync(path, "latin1").trim();
  } catch (cause) {
    throw systemError(`read boot id "${path}"`, cause);
  }
}

/** The kernel's release, as `uname -r` prints it. */
export function kernelRelease(): string {
  return release();
}

/** Exists if and only if systemd is the init process of the host (sd_booted(3)). */
export const systemdDirectory = "/run/systemd/system";

/** Whether systemd is the init process of this host, and so can manage cgroups. */
export function isRunBySystemd(): boolean {
  return existsSync(systemdDirectory);
}
