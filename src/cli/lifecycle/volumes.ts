import { chmod, chown, mkdir, open, readdir, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { listMounts, mountTmpfs, unmount } from "../../linux/mount/index.ts";
import { lockFile, removeTree } from "../../linux/file/index.ts";
import { podDirectory, type PodManifest, type PodNames } from "../../manifest/pod.ts";
import type { HostPathType, VolumeManifest, VolumeMount } from "../../manifest/volumes.ts";

/** A pod's directory that is this process's alone. */
export interface DirectoryClaim extends Disposable {
  /** There was no such directory before. */
  readonly isNew: boolean;
}

const lockName = "run.lock";

/**
 * Takes the pod's directory for this process, until the result is disposed of: two davit run of one
 * pod at once must not take each other's things away. Throws `failed-precondition` when another
 * one has it.
 */
export async function claimPodDirectory({
  directory,
  namespace,
  name,
}: PodManifest): Promise<DirectoryClaim> {
  let made: string | undefined;
  try {
    // Containers of any user must get through to their volumes.
    made = await mkdir(directory, { recursive: true, mode: 0o755 });
  } catch (cause) {
    const { kind, message } = systemError(
      `make the directory of pod "${namespace}/${name}"`,
      cause,
    );
    const todo = kind === "permission-denied" ? "; run it as root" : "";
    throw new RuntimeError(kind, `${message}${todo}`, { cause });
  }
  const lock = lockFile(join(directory, lockName));
  if (lock !== undefined) {
    return { isNew: made !== undefined, [Symbol.dispose]: () => lock[Symbol.dispose]() };
  }
  throw new RuntimeError(
    "failed-precondition",
    `run pod "${namespace}/${name}": another davit run is at work on it; wait for that one`,
  );
}

/**
 * Makes the pod's emptyDir volumes in its directory, and looks whether the host has what its hostPath
 * volumes want. `undo` takes the directory away; directories and files that a hostPath asked for stay, as
 * they do with kubelet. What a pod of the same name left goes: its runtime knows it no more.
 */
export async function makeVolumes(pod: PodManifest, undo: Rollback): Promise<void> {
  undo.defer("remove the pod's directory", () => removePodDirectory(pod.directory));
  for (const left of await readdir(pod.directory)) {
    if (left !== lockName) await removePodDirectory(join(pod.directory, left));
  }
  await mkdir(join(pod.directory, "volumes"), { mode: 0o755 });
  for (const volume of pod.volumes) {
    try {
      if (volume.kind === "emptyDir") await makeEmptyDir(pod, volume);
      if (volume.kind === "hostPath") await checkHostPath(volume.path, volume.type);
    } catch (error) {
      throw wrap(`make volume "${volume.name}" of pod "${pod.namespace}/${pod.name}"`, error);
    }
  }
}

/** Removes what davit run wrote for a pod, and the mounts in it. Done when nothing is there. */
export async function removePodDirectory(directory: string): Promise<void> {
  const mounts = (await listMounts()).map(({ mountPoint }) => mountPoint);
  const inside = mounts.filter((path) => path === directory || path.startsWith(`${directory}/`));
  for (const path of inside.toReversed()) await unmount(path);
  await removeTree(directory);
}

/**
 * Removes what davit run wrote for the pod of these names, if it did. They may be another client's and
 * hold anything: where they are not the name of one directory, there is none of ours.
 */
export async function removeOwnDirectory(podsRoot: string, names: PodNames): Promise<void> {
  const { namespace, name, uid } = names;
  if (uid === "" || [namespace, name, uid].some((part) => /[/\0]/.test(part))) return;
  await removePodDirectory(podDirectory(podsRoot, names));
}

/** Where a container's volumeMounts are on the host; undefined for those that are images. */
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
  // Files made in it belong to the pod's group, as kubelet has it: setgid.
  const mode = fsGroup === undefined ? 0o777 : 0o2777;
  await mkdir(path);
  if (volume.memoryBytes !== undefined) {
    await mountTmpfs(path, { sizeBytes: volume.memoryBytes, mode });
  }
  if (fsGroup !== undefined) await chown(path, 0, fsGroup);
  await chmod(path, mode);
}

/** A path inside of the volume that is made where it is missing, and does not lead out of it. */
async function makeSubPath(root: string, { subPath, name }: VolumeMount): Promise<string> {
  const path = join(root, subPath);
  try {
    await mkdir(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    // A file is as good as a directory.
    if (errnoCode(error) !== "EEXIST") {
      throw wrap(`make subPath "${subPath}" of volume "${name}"`, error);
    }
  }
  const [realRoot, real] = await Promise.all([realpath(root), realpath(path)]);
  if (real === realRoot || real.startsWith(`${realRoot}/`)) return real;
  throw new RuntimeError(
    "failed-precondition",
    `use subPath "${subPath}" of volume "${name}": it leads out of the volume, to "${real}"`,
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
    const message = `look for ${type} "${path}": ${messageOf(cause)}`;
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
  throw new RuntimeError("failed-precondition", `"${path}" is there, but it is no ${type}`);
}
