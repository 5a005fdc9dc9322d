import { readdir, stat } from "node:fs/promises";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { mountTmpfs, unmount } from "../../../linux/mount/index.ts";
import type { StateLayout } from "../state-layout.ts";

/** An exit takes a page of 4 KiB, and only for as long as its container is on record. */
const sizeBytes = 32 << 20;

/**
 * Gives the exits a tmpfs of their own. conmon has the only word on how a process ended and says it
 * once, by a file: on a disk that is full then, the exit code would be lost for good.
 */
export async function mountExitTmpfs(places: StateLayout, log: Logger): Promise<void> {
  const { exits } = places;
  // What an earlier davit left there must not be hidden.
  if ((await isMountPoint(exits)) || (await readdir(exits)).length > 0) return;
  try {
    await mountTmpfs(exits, { sizeBytes, mode: 0o700 });
  } catch (error) {
    log.warn(`exit codes of containers share the disk of "${exits}" with all else`, {
      error: messageOf(error),
    });
  }
}

/** Takes the tmpfs away when no container can have a use for it. */
export async function unmountExitTmpfs({ exits, containers }: StateLayout): Promise<void> {
  const left = await Promise.all([readdir(exits), readdir(containers)]);
  if (left.every((names) => names.length === 0) && (await isMountPoint(exits)))
    await unmount(exits);
}

async function isMountPoint(directory: string): Promise<boolean> {
  const [own, parent] = await Promise.all([stat(directory), stat(`${directory}/..`)]);
  return own.dev !== parent.dev;
}
