import { chmod, chown, mkdir, open, realpath, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import type {
  HostPathType,
  PodManifest,
  VolumeManifest,
  VolumeMount,
} from "../../manifest/index.ts";

/** Mounts a tmpfs(5) at a directory. */
export type MountTmpfs = (
  path: string,
  options: { readonly sizeBytes: number; readonly mode: number },
) => Promise<void>;

/** A file below the mount of a volume in memory: it can be seen only where nothing is mounted, as after a reboot. */
export const notMountedMark = ".davit-not-mounted";

/**
 * Creates the pod's emptyDir volumes in its directory, which exists, and checks its hostPath volumes.
 */
export async function createVolumes(pod: PodManifest, mountTmpfs: MountTmpfs): Promise<void> {
  await mkdir(join(pod.directory, "volumes"), { mode: 0o755 });
  for (const volume of pod.volumes) {
    try {
      if (volume.kind === "emptyDir") await makeEmptyDir(pod, volume, mountTmpfs);
      if (volume.kind === "hostPath") await checkHostPath(volume.path, volume.type);
    } catch (error) {
      throw wrap(`create volume "${volume.name}" of pod "${pod.namespace}/${pod.name}"`, error);
    }
  }
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
  mountTmpfs: MountTmpfs,
): Promise<void> {
  const path = emptyDirPath(pod, volume);
  const { fsGroup } = pod.security;
  // setgid, as in kubelet: new files belong to the pod's group.
  const mode = fsGroup === undefined ? 0o777 : 0o2777;
  await mkdir(path);
  if (volume.memoryBytes !== undefined) {
    await writeFile(join(path, notMountedMark), "");
    await mountTmpfs(path, { sizeBytes: volume.memoryBytes, mode });
  }
  if (fsGroup !== undefined) await chown(path, 0, fsGroup);
  await chmod(path, mode);
}

/** Creates a subPath of a volume if it is missing, and checks that it is inside the volume. */
async function makeSubPath(root: string, { subPath, name }: VolumeMount): Promise<string> {
  const path = join(root, subPath);
  try {
    const realRoot = await realpath(root);
    const inside = async (found: string): Promise<string> => {
      const real = await realpath(found);
      if (real === realRoot || real.startsWith(`${realRoot}/`)) return real;
      const why = `it leads out of the volume to "${real}"; remove the symbolic link`;
      throw new RuntimeError("failed-precondition", why);
    };
    // A container that has run before can have made links.
    await makeDirectories(path, inside);
    return await inside(path);
  } catch (error) {
    throw wrap(`use subPath "${subPath}" of volume "${name}"`, error);
  }
}

/**
 * Makes a directory and its parents, unless something is there, with mode 0755. `check` may reject the one that exists,
 * before anything is made in it. The recursive mkdir() of Node.js 24 is not for such paths: in /proc it never returns. A
 * client does not load src/linux, which has makeDirectories() for the daemon.
 */
async function makeDirectories(
  path: string,
  check?: (existing: string) => Promise<unknown>,
): Promise<void> {
  const missing: string[] = [];
  let existing = path;
  while (!(await exists(existing))) {
    missing.unshift(existing);
    existing = dirname(existing);
  }
  await check?.(existing);
  for (const directory of missing) await mkdir(directory, 0o755).catch(unlessThere);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return false;
    throw error;
  }
}

function unlessThere(error: unknown): void {
  if (errnoCode(error) !== "EEXIST") throw error;
}

async function checkHostPath(path: string, type: HostPathType): Promise<void> {
  if (type === "") return;
  if (type === "DirectoryOrCreate") await makeDirectories(path);
  if (type === "FileOrCreate") {
    await makeDirectories(dirname(path));
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
