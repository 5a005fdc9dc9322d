import { lstat, realpath } from "node:fs/promises";
import { dirname } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { ContainerConfig, Mount } from "../../gen/runtime/v1/api_pb.ts";
import { MountPropagation } from "../../gen/runtime/v1/api_pb.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { makeDirectories } from "../../linux/file/index.ts";
import { canMapIds, listMounts } from "../../linux/mount/index.ts";
import { checkPropagation } from "../../oci-spec/index.ts";
import type { ClientPaths } from "./client-paths.ts";
import { checkKernelMount } from "./kernel-mounts.ts";

/**
 * The host's side of each mount, in the order of the config: links followed, missing directories made
 * as by containerd and CRI-O; `images` are the directories of its image mounts. `unavailable` naming the path when its
 * file system does not answer, `invalid-argument` for one that cannot replace a kernel file system.
 */
export async function mountSources(
  config: ContainerConfig,
  images: readonly string[],
  paths: ClientPaths,
): Promise<readonly string[]> {
  const sources: string[] = [];
  const ofImages = images.values();
  for (const mount of config.mounts) {
    if (mount.image !== undefined) {
      sources.push(ofImages.next().value ?? "");
      continue;
    }
    const { hostPath } = mount;
    const doing = `prepare mount of "${hostPath}"`;
    sources.push(await paths.withStallGuard(hostPath, doing, () => sourceOf(mount, config.tty)));
  }
  return sources;
}

async function sourceOf(mount: Mount, terminal: boolean): Promise<string> {
  const source = await existing(mount.hostPath);
  await checkKernelMount(mount, source, terminal);
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) {
    const holding = await mountHolding(source);
    checkPropagation(mount, holding.mountPoint, holding.propagation);
  }
  return source;
}

/**
 * The first mount of a config whose ids cannot all be mapped to those of a user namespace, as the end of a sentence
 * about its container; undefined if there is none. The mapping is of one mount and not of those below it (mount_setattr(2)
 * without AT_RECURSIVE), which the container sees too. Missing directories are made, as for the mount itself.
 */
export async function unmappableMount(
  config: Pick<ContainerConfig, "mounts">,
  namespace: string,
  paths: ClientPaths,
): Promise<string | undefined> {
  const sources = new Map<string, string>();
  for (const { hostPath, image, uidMappings } of config.mounts) {
    if (image !== undefined || uidMappings.length > 0) continue;
    const doing = `map the ids of "${hostPath}"`;
    const can = await paths.withStallGuard(hostPath, doing, async () => {
      const source = await existing(hostPath);
      sources.set(hostPath, source);
      return canMapIds(source, namespace);
    });
    if (!can) return `mounts "${hostPath}", whose file system has no ID-mapped mounts`;
  }
  if (sources.size === 0) return undefined;
  const mountPoints = (await listMounts()).map(({ mountPoint }) => mountPoint);
  for (const [hostPath, source] of sources) {
    const below = mountBelow(source, mountPoints);
    if (below !== undefined) return `mounts "${hostPath}" with the file system at "${below}" in it`;
  }
  return undefined;
}

/** The first of some mount points that is in a directory. */
export function mountBelow(directory: string, mountPoints: readonly string[]): string | undefined {
  const prefix = directory === "/" ? "/" : `${directory}/`;
  return mountPoints.find((point) => point.startsWith(prefix) && point !== directory);
}

/** The path without symbolic links. A missing directory is made. */
async function existing(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    if (errnoCode(cause) === "ENOTDIR") {
      const text = "a file on this path is not a directory; remove it, or correct the path";
      throw new RuntimeError("failed-precondition", text, { cause });
    }
    if (errnoCode(cause) !== "ENOENT") throw systemError("find it", cause);
  }
  try {
    await makeDirectories(path);
    return await realpath(path);
  } catch (cause) {
    if (!["ENOENT", "ENOTDIR"].includes(errnoCode(cause) ?? ""))
      throw systemError("make it", cause);
    throw await unmakeable(path, cause);
  }
}

/** Why there is no directory at a path that neither realpath(3) found nor mkdir(2) made. */
async function unmakeable(path: string, cause: unknown): Promise<RuntimeError> {
  const succeeds = (call: Promise<unknown>): Promise<boolean> =>
    call.then(
      () => true,
      () => false,
    );
  let there = path;
  while (there !== "/" && !(await succeeds(lstat(there)))) there = dirname(there);
  const text = (await succeeds(realpath(there)))
    ? `it does not exist, and no directory can be made in "${there}"; correct the path, or load the driver that provides it`
    : "a symbolic link on this path leads to nothing; create what it names, or remove it";
  return new RuntimeError("failed-precondition", text, { cause });
}

/** The mount that a path is on, by its name alone: the path itself is not accessed. */
export async function mountHolding(
  path: string,
): Promise<{ readonly mountPoint: string; readonly propagation: readonly string[] }> {
  const holds = (mountPoint: string): boolean =>
    mountPoint === "/" || path === mountPoint || path.startsWith(`${mountPoint}/`);
  let best: { readonly mountPoint: string; readonly propagation: readonly string[] } = {
    mountPoint: "/",
    propagation: [],
  };
  for (const entry of await listMounts()) {
    // Of mounts on one point the last is on top.
    if (holds(entry.mountPoint) && entry.mountPoint.length >= best.mountPoint.length) best = entry;
  }
  return best;
}
