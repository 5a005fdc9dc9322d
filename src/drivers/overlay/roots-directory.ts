import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import { bindMount, makePrivateBind, unmount } from "../../linux/mount/index.ts";
import type { StateLayout } from "./state-layout.ts";

/** Where the roots are. */
export interface RootsDirectory {
  /** A directory on their file system, for statistics. */
  readonly directory: string;
  /** True if the layers are on another file system. */
  readonly isSeparate: boolean;
}

/**
 * Makes the directory of all roots a private mount, so that no other mount namespace gets a copy of a root
 * and keeps it busy. With `writableRoot`, its directory "roots" is mounted there: the paths stay the same,
 * and only the files are elsewhere. Roots that are mounted already stay where they are: then another setting
 * takes effect when there are none, with a warning.
 */
export async function openRootsDirectory(
  paths: StateLayout,
  writableRoot: string,
  log: Logger,
): Promise<RootsDirectory> {
  const { root, roots } = paths;
  const wanted = writableRoot === "" ? undefined : join(writableRoot, "roots");
  await mkdir(roots, { recursive: true, mode: 0o711 });
  if (wanted !== undefined) await mkdir(wanted, { recursive: true, mode: 0o711 });
  const isElsewhere = await isOther(roots, wanted ?? root, wanted === undefined);
  if (!isElsewhere) {
    await makePrivateBind(roots);
  } else if ((await readdir(roots)).length > 0) {
    await makePrivateBind(roots);
    warnOfRoots(roots, wanted, log);
    return { directory: roots, isSeparate: (await stat(roots)).dev !== (await stat(root)).dev };
  } else {
    // Of an earlier setting, and empty.
    await unmount(roots);
    if (wanted === undefined) await makePrivateBind(roots);
    else await bindMount(wanted, roots, { private: true });
  }
  const isSeparate = (await stat(roots)).dev !== (await stat(root)).dev;
  if (wanted !== undefined && !isSeparate) {
    log.warn(
      `writable_root "${writableRoot}" is on the same file system as root: is its own file system not mounted?`,
    );
  }
  return { directory: isSeparate ? writableRoot : root, isSeparate };
}

/** Whether the roots are in another directory, or on another file system than `other`. */
async function isOther(roots: string, other: string, byDevice: boolean): Promise<boolean> {
  const [a, b] = [await stat(roots), await stat(other)];
  return a.dev !== b.dev || (!byDevice && a.ino !== b.ino);
}

function warnOfRoots(roots: string, wanted: string | undefined, log: Logger): void {
  const text =
    wanted === undefined
      ? "the writable layers of containers stay on another file system, although writable_root is not set"
      : `new writable layers are not in "${wanted}" yet`;
  const advice = "it takes effect at a start when this node has no containers: drain it first";
  log.warn(`${text}: "${roots}" contains writable layers; ${advice}`);
}
