import { readdir, stat } from "node:fs/promises";

import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { mountTmpfs, unmount } from "../../linux/mount/index.ts";
import type { StateLayout } from "./state-layout.ts";

/** An exit file takes a page of 4 KiB, and exists as long as its container is recorded. */
const sizeBytes = 32 << 20;

/**
 * Mounts a tmpfs for exit files. Only its monitor knows how a process ended, and it ends soon after it has written that:
 * on a full disk, the exit code would be lost.
 */
export async function mountExitTmpfs(paths: StateLayout, log: Logger): Promise<void> {
  const { exits } = paths;
  // A mount must not hide the files of an earlier davit.
  if ((await isMountPoint(exits)) || (await readdir(exits)).length > 0) return;
  try {
    await mountTmpfs(exits, { sizeBytes, mode: 0o700 });
  } catch (error) {
    log.warn(`failed to mount a tmpfs on "${exits}": a full disk may lose exit codes`, {
      error: messageOf(error),
    });
  }
}

/** Unmounts the tmpfs unless a container still needs it. */
export async function unmountExitTmpfs({ exits, containers }: StateLayout): Promise<void> {
  const left = await Promise.all([readdir(exits), readdir(containers)]);
  if (left.every((names) => names.length === 0) && (await isMountPoint(exits)))
    await unmount(exits);
}

async function isMountPoint(directory: string): Promise<boolean> {
  const [own, parent] = await Promise.all([stat(directory), stat(`${directory}/..`)]);
  return own.dev !== parent.dev;
}
