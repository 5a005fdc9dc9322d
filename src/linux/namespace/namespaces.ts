import { statfsSync, statSync } from "node:fs";

import { RuntimeError } from "../../base/errors.ts";
import { nativeJob } from "../native.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";

/** Ids of a user namespace, and where they begin outside of it (user_namespaces(7)). */
export interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly length: number;
}

/** Where to pin the new namespaces; those without a path are not made. */
export interface NamespacePins {
  /** A user namespace, which the others then belong to. */
  readonly user?: string;
  /** The ids in it; needed with `user`, with 0 among them. */
  readonly users?: { readonly uids: IdRange; readonly gids: IdRange };
  readonly net?: string;
  readonly ipc?: string;
  readonly uts?: string;
  /** The name inside the new uts namespace; needs `uts`. */
  readonly hostname?: string;
}

/** `f_type` of nsfs, from linux/magic.h. */
const NSFS_MAGIC = 0x6e736673;

/**
 * Makes new namespaces and pins each by a bind mount on a file that is created for it (empty,
 * 0444), with `lo` up and the hostname set, in one step on a thread of its own: 0.6 ms. When it
 * rejects, nothing is left. The directory should be a private bind (`makePrivateBind`), or the pins
 * appear in other mount namespaces and keep the files busy there.
 *
 * Rejects with `already-exists` when a file is at one of the paths.
 */
export async function pinNamespaces(pins: NamespacePins): Promise<void> {
  if (pins.hostname !== undefined && pins.uts === undefined) {
    throw new RuntimeError("invalid-argument", "pin namespaces: a hostname needs a uts namespace");
  }
  if (pins.user !== undefined) {
    await pinUserNamespace(pins.user, pins);
    return;
  }
  if (pins.net === undefined && pins.ipc === undefined && pins.uts === undefined) return;
  await nativeJob("pinNamespaces", [
    pins.net ?? null,
    pins.ipc ?? null,
    pins.uts ?? null,
    pins.hostname ?? null,
  ]);
}

/** The same with a user namespace, which takes a process for a moment: 2 ms. */
async function pinUserNamespace(user: string, pins: NamespacePins): Promise<void> {
  const { users } = pins;
  if (users === undefined) {
    throw new RuntimeError("invalid-argument", "pin namespaces: a user namespace needs its ids");
  }
  const map = ({ containerId, hostId, length }: IdRange): string =>
    `${containerId} ${hostId} ${length}`;
  await nativeJob("pinUserNamespace", [
    user,
    pins.net ?? null,
    pins.ipc ?? null,
    pins.uts ?? null,
    pins.hostname ?? null,
    map(users.uids),
    map(users.gids),
  ]);
}

/**
 * Takes a pinned namespace's mount and file away; the namespace ends with its last process. Done
 * when neither is there any more. A plain file that an old boot left is removed, too.
 */
export async function unpinNamespace(path: string): Promise<void> {
  await unpinNamespaces([path]);
}

/** The same for several in one go. All are tried; rejects with the first failure. */
export async function unpinNamespaces(paths: readonly string[]): Promise<void> {
  await nativeJob("unpinNamespaces", paths);
}

/**
 * Whether a namespace is pinned at the path. A file left from an earlier boot, or whose mount
 * somebody took away, is none; asking never changes anything.
 */
export function isNamespaceMounted(path: string): boolean {
  try {
    return statfsSync(path).type === NSFS_MAGIC;
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return false;
    throw systemError(`look at namespace "${path}"`, cause);
  }
}

/**
 * The inode of a namespace file (`/proc/PID/ns/net`, a pin): equal inodes are the same namespace
 * (namespaces(7)). `undefined` when the file is gone or its process is.
 */
export function namespaceInode(path: string): bigint | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
  } catch (cause) {
    if (errnoCode(cause) === "ESRCH") return undefined;
    throw systemError(`look at namespace "${path}"`, cause);
  }
}
