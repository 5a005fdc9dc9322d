import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";

import { systemError } from "../../base/system-error.ts";

/** The id of this boot of the host (random(4)): records of another one describe nothing that lives. */
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

/** What is there exactly where systemd is the first process (sd_booted(3)). */
export const systemdDirectory = "/run/systemd/system";

/** Whether systemd runs this host, and so can be asked for cgroups. */
export function isRunBySystemd(): boolean {
  return existsSync(systemdDirectory);
}
