import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeError, wrap } from "../../base/errors.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { ImageVolume, VolumeOwner } from "../../core/snapshot/index.ts";
import {
  bindInRoot,
  copyInRoot,
  type FileStep,
  pathInRoot,
  runFileSteps,
} from "../../linux/file/index.ts";
import { bindMount, mountOverlay, type OverlayOptions, unmount } from "../../linux/mount/index.ts";
import { errnoCode, SystemError } from "../../base/system-error.ts";
import { isKernelPath } from "../../oci-spec/index.ts";

// User namespaces: the container's root must be able to reach the mounts in it.
const directoryMode = 0o711;

/** Path of image volume number `index` of a container; `directory` is the container's. */
export function imageVolumePath(directory: string, index: number): string {
  return join(directory, "images", String(index));
}

/** Path of volume number `index` that the container's own image declares. */
export function volumePath(directory: string, index: number): string {
  return join(directory, "volumes", String(index));
}

/** Image volumes to mount, each with the names of its layers for overlayfs, topmost first. */
interface ImageMounts {
  readonly directory: string;
  readonly volumes: readonly (ImageVolume & { readonly lower: readonly [string, ...string[]] })[];
  readonly asOldKernel: boolean;
  /** For a container of a user namespace. */
  readonly mapped?: OverlayOptions["mapped"];
  readonly label?: string;
}

/**
 * Mounts each image once, whole, and then the part that each volume shows. {@link unmountImages} unmounts
 * what a failure leaves.
 */
export async function mountImages(mounts: ImageMounts): Promise<void> {
  const { directory, volumes } = mounts;
  await makeDirectory(join(directory, "images"));
  const whole = new Map<string, string>();
  for (const [index, volume] of volumes.entries()) {
    const { image, lower } = volume;
    let root = whole.get(image);
    if (root === undefined) {
      const target = `images/whole-${whole.size}`;
      root = join(directory, target);
      await makeDirectory(root);
      await mountWhole(mounts, target, lower);
      whole.set(image, root);
    }
    await showPart(root, volume, imageVolumePath(directory, index));
  }
}

async function mountWhole(
  { directory, asOldKernel, mapped, label }: ImageMounts,
  target: string,
  lower: readonly [string, ...string[]],
): Promise<void> {
  const [only, second] = lower;
  if (mapped !== undefined || label !== undefined) {
    // A read-only overlay takes two layers at least.
    const layers =
      second === undefined ? ([only, await otherLayer(directory, only)] as const) : lower;
    const options = { ...(mapped && { mapped }), ...(label !== undefined && { label }) };
    await mountOverlay({ directory, target, lower: layers, asOldKernel, ...options });
  } else if (second === undefined) {
    await bindMount(join(directory, only), join(directory, target), readonlyBind);
  } else {
    await mountOverlay({ directory, target, lower, asOldKernel });
  }
}

const emptyLayer = "../../layers/.empty";

/** An empty layer that is not `layer`: an image without layers has the empty one itself (ELOOP). */
async function otherLayer(directory: string, layer: string): Promise<string> {
  if (layer !== emptyLayer) return emptyLayer;
  const own = "images/empty";
  await mkdir(join(directory, own), { recursive: true, mode: directoryMode });
  return own;
}
const readonlyBind = { private: true, readonly: true } as const;

async function showPart(
  root: string,
  { name, subPath }: ImageVolume,
  target: string,
): Promise<void> {
  await makeDirectory(target);
  try {
    await bindInRoot(root, subPath, target);
  } catch (cause) {
    const code = errnoCode(cause);
    const problem = code === undefined ? undefined : subPathProblems[code];
    if (problem === undefined) throw cause;
    throw new RuntimeError(
      "invalid-argument",
      `mount image "${name}": image_sub_path ${JSON.stringify(subPath)} ${problem}; name a directory that the image has`,
      { cause },
    );
  }
}

const subPathProblems: Readonly<Record<string, string>> = {
  ENOENT: "does not exist in the image",
  ENOTDIR: "is not a directory in the image",
  ELOOP: "is a loop of symbolic links in the image",
};

/** Unmounts the image volumes of a container, also after a partial mount. Idempotent. */
export async function unmountImages(
  directory: string,
  operation?: Pick<Operation, "enter">,
): Promise<void> {
  const images = join(directory, "images");
  const names = await entries(images);
  if (names.length === 0) return;
  await operation?.enter("unmount-images");
  for (const name of names) await unmount(join(images, name));
}

/**
 * Makes a directory for each path with what the root has at it: owners, modes, attributes. One that the
 * root does not have is empty and belongs to `owner`.
 */
export async function copyVolumes(
  directory: string,
  paths: readonly string[],
  owner: VolumeOwner,
): Promise<void> {
  const all = {
    step: "make-directory",
    path: join(directory, "volumes"),
    mode: directoryMode,
  } satisfies FileStep;
  for (const [index, path] of paths.entries()) {
    const target = {
      step: "make-directory",
      path: volumePath(directory, index),
      mode: 0o755,
    } satisfies FileStep;
    try {
      await checkLink(join(directory, "merged"), path);
      await runFileSteps(index === 0 ? [all, target] : [target]);
      if (await copyInRoot(join(directory, "merged"), path, target.path)) continue;
      await runFileSteps([{ ...target, owner, mayExist: true }]);
    } catch (cause) {
      throw volumeFailure(path, cause);
    }
  }
}

/**
 * Refuses a volume that a link of the image leads over the kernel's file systems. The OCI runtime follows
 * the link when it mounts, and crun would then run the container without its /proc.
 */
async function checkLink(root: string, path: string): Promise<void> {
  const target = await pathInRoot(root, path);
  if (!isKernelPath(target)) return;
  throw new RuntimeError(
    "failed-precondition",
    `in the image it is a link to "${target}", where the kernel's file systems are; fix the image, or mount something there`,
  );
}

function volumeFailure(path: string, cause: unknown): RuntimeError {
  const doing = `make volume "${path}" that the image declares`;
  const code = errnoCode(cause);
  if (code === "ENOTDIR") {
    const why = "in the image it is not a directory; fix the image, or mount something there";
    return new RuntimeError("failed-precondition", `${doing}: ${why}`, { cause });
  }
  const words = wrap(doing, cause);
  return code === undefined ? words : new SystemError(words.message, code, { cause });
}

/** Names in a directory that may not exist. */
async function entries(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return [];
    throw cause;
  }
}

async function makeDirectory(path: string): Promise<void> {
  await mkdir(path, { mode: directoryMode });
}
