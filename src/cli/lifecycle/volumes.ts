import { mkdir, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { systemError } from "../../base/system-error.ts";
import { makePodsDirectory } from "../../client/pods/pods-directory.ts";
import { createVolumes } from "../../client/pods/volumes.ts";
import { listMounts, mountTmpfs, unmount } from "../../linux/mount/index.ts";
import { lockFile, removeTree } from "../../linux/file/index.ts";
import { ownPodDirectory, type PodManifest, type PodNames } from "../../manifest/index.ts";

/** A pod's directory that is locked by this process. */
interface DirectoryClaim extends Disposable {
  /** The directory did not exist before. */
  readonly isNew: boolean;
}

const lockName = "run.lock";

/** Locks a pod's directory; undefined while another davit run has locked it. */
export function lockPodDirectory(directory: string): Disposable | undefined {
  return lockFile(join(directory, lockName));
}

/**
 * Locks the pod's directory until the result is disposed: concurrent davit run commands for one
 * pod must not remove each other's files. Throws `failed-precondition` if another
 * process has locked it.
 */
export async function claimPodDirectory({
  directory,
  namespace,
  name,
}: PodManifest): Promise<DirectoryClaim> {
  let made: string | undefined;
  try {
    await makePodsDirectory(dirname(directory));
    made = await mkdir(directory, { recursive: true, mode: 0o755 });
  } catch (cause) {
    const { kind, message } = systemError(
      `create the directory of pod "${namespace}/${name}"`,
      cause,
    );
    const hint = kind === "permission-denied" ? "; run davit as root" : "";
    throw new RuntimeError(kind, `${message}${hint}`, { cause });
  }
  const lock = lockPodDirectory(directory);
  if (lock !== undefined) {
    return { isNew: made !== undefined, [Symbol.dispose]: () => lock[Symbol.dispose]() };
  }
  throw new RuntimeError(
    "failed-precondition",
    `run pod "${namespace}/${name}": another davit run is running it; wait until that has finished`,
  );
}

/**
 * Creates the pod's emptyDir volumes in its directory, and checks its hostPath volumes. `undo` removes the
 * directory; directories and files that were created for a hostPath stay, as in kubelet. Files of an earlier
 * pod with the same name are removed: the pod no longer exists.
 */
export async function makeVolumes(pod: PodManifest, undo: Rollback): Promise<void> {
  undo.defer(`remove directory "${pod.directory}"`, () => removePodDirectory(pod.directory));
  for (const left of await readdir(pod.directory)) {
    if (left !== lockName) await removePodDirectory(join(pod.directory, left));
  }
  await createVolumes(pod, mountTmpfs);
}

/** Removes the directory of a pod and the mounts in it, if it exists. */
export async function removePodDirectory(directory: string): Promise<void> {
  const mounts = (await listMounts()).map(({ mountPoint }) => mountPoint);
  const inside = mounts.filter((path) => path === directory || path.startsWith(`${directory}/`));
  for (const path of inside.toReversed()) await unmount(path);
  await removeTree(directory);
}

/**
 * Removes the directory of the pod with these names, if it exists. Another client may have chosen the
 * names: names that contain a slash do not have a directory.
 */
export async function removeOwnDirectory(podsRoot: string, names: PodNames): Promise<void> {
  const directory = ownPodDirectory(podsRoot, names);
  if (directory !== undefined) await removePodDirectory(directory);
}
