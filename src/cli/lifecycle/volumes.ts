import { chmod, chown, mkdir, open, readdir, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { listMounts, mountTmpfs, unmount } from "../../linux/mount/index.ts";
import { lockFile, removeTree } from "../../linux/file/index.ts";
import {
  type HostPathType,
  podDirectory,
  type PodManifest,
  type PodNames,
  type VolumeManifest,
  type VolumeMount,
} from "../../manifest/index.ts";

/** A pod's directory that is locked by this process. */
interface DirectoryClaim extends Disposable {
  /** The directory did not exist before. */
  readonly isNew: boolean;
}

const lockName = "run.lock";

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
    // Containers of all users must be able to reach their volumes.
    made = await mkdir(directory, { recursive: true, mode: 0o755 });
  } catch (cause) {
    const { kind, message } = systemError(
      `create the directory of pod "${namespace}/${name}"`,
      cause,
    );
    const hint = kind === "permission-denied" ? "; run davit as root" : "";
    throw new RuntimeError(kind, `${message}${hint}`, { cause });
  }
  const lock = lockFile(join(directory, lockName));
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
  await mkdir(join(pod.directory, "volumes"), { mode: 0o755 });
  for (const volume of pod.volumes) {
    try {
      if (volume.kind === "emptyDir") await makeEmptyDir(pod, volume);
      if (volume.kind === "hostPath") await checkHostPath(volume.path, volume.type);
    } catch (error) {
      throw wrap(`create volume "${volume.name}" of pod "${pod.namespace}/${pod.name}"`, error);
    }
  }
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
  const { namespace, name, uid } = names;
  if (uid === "" || [namespace, name, uid].some((part) => /[/\0]/.test(part))) return;
  await removePodDirectory(podDirectory(podsRoot, names));
}

/** The host paths of a container's volumeMounts; undefined for image volumes. */
export function hostPathsOf(
  mounts: readonly VolumeMount[],
  pod: PodManifest,
): Promise<(string | undefined)[]> {
  const pathOf = async (mount: VolumeMount): Promise<string | undefined> => {
    const volume = pod.volumes.find(({ name }) => name === mount.name);
    if (volume === undefined || volume.kind === "image") return undefined;
    const path = volume.kind === "hostPath" ? volume.path : emptyDirPath(pod, volume);
    if (mount.subPath === "") return path;
    return await makeSubPath(path, mount);
  };
  return Promise.all(mounts.map(pathOf));
}

function emptyDirPath(pod: PodManifest, { name }: VolumeManifest): string {
  return join(pod.directory, "volumes", name);
}

async function makeEmptyDir(
  pod: PodManifest,
  volume: VolumeManifest & { readonly kind: "emptyDir" },
): Promise<void> {
  const path = emptyDirPath(pod, volume);
  const { fsGroup } = pod.security;
  // setgid, as in kubelet: new files belong to the pod's group.
  const mode = fsGroup === undefined ? 0o777 : 0o2777;
  await mkdir(path);
  if (volume.memoryBytes !== undefined) {
    await mountTmpfs(path, { sizeBytes: volume.memoryBytes, mode });
  }
  if (fsGroup !== undefined) await chown(path, 0, fsGroup);
  await chmod(path, mode);
}

/** Creates a subPath of a volume if it is missing, and checks that it is inside the volume. */
async function makeSubPath(root: string, { subPath, name }: VolumeMount): Promise<string> {
  const path = join(root, subPath);
  try {
    await mkdir(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    // The subPath may be a file.
    if (errnoCode(error) !== "EEXIST") {
      throw wrap(`create subPath "${subPath}" of volume "${name}"`, error);
    }
  }
  const [realRoot, real] = await Promise.all([realpath(root), realpath(path)]);
  if (real === realRoot || real.startsWith(`${realRoot}/`)) return real;
  throw new RuntimeError(
    "failed-precondition",
    `use subPath "${subPath}" of volume "${name}": it leads out of the volume to "${real}"; remove the symbolic link`,
  );
}

async function checkHostPath(path: string, type: HostPathType): Promise<void> {
  if (type === "") return;
  if (type === "DirectoryOrCreate") await mkdir(path, { recursive: true, mode: 0o755 });
  if (type === "FileOrCreate") {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await (await open(path, "a", 0o644)).close();
  }
  let found;
  try {
    found = await stat(path);
  } catch (cause) {
    const message = `check ${type} "${path}": ${messageOf(cause)}`;
    throw new RuntimeError("failed-precondition", message, { cause });
  }
  const is = {
    DirectoryOrCreate: found.isDirectory(),
    Directory: found.isDirectory(),
    FileOrCreate: found.isFile(),
    File: found.isFile(),
    Socket: found.isSocket(),
    CharDevice: found.isCharacterDevice(),
    BlockDevice: found.isBlockDevice(),
  };
  if (is[type]) return;
  throw new RuntimeError(
    "failed-precondition",
    `check ${type} "${path}": the file exists but is not a ${type}; change the path or the type of the volume`,
  );
}
