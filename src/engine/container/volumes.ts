import { RuntimeError, wrap } from "../../base/errors.ts";
import type { CheckedConfig, Container, ContainerImageVolume } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { RootOptions } from "../../core/snapshot/index.ts";
import type { ContainerContext } from "./context.ts";

/** What a new container gets beside its root. */
export interface FoundVolumes {
  readonly images: readonly ContainerImageVolume[];
  /** Volumes that its image declares. */
  readonly paths: readonly string[];
  /** Those that it does not get, since they would hide the kernel's file systems. */
  readonly passedOver: readonly string[];
}

/**
 * The images that mounts of the config name, in its order. `not-found` for one that is not on this
 * node: kubelet pulls it before.
 */
export function findImageVolumes(
  context: ContainerContext,
  { mounts }: CheckedConfig,
): readonly ContainerImageVolume[] {
  return mounts.flatMap(({ image: wanted, containerPath }) => {
    if (wanted === undefined) return [];
    const image = context.images.find(wanted.image);
    if (image === undefined) {
      throw new RuntimeError(
        "not-found",
        `create container: image "${wanted.image}" of mount "${containerPath}" is not on this node, pull it first`,
      );
    }
    const layers = image.layers.map(({ diffId }) => diffId);
    return [{ image: image.id, layers }];
  });
}

/** Mounts the container's image volumes and makes those that its image declares. */
export async function makeVolumes(
  context: ContainerContext,
  container: Container,
  operation: RunningOperation,
  options: RootOptions,
): Promise<void> {
  const { id, imageVolumes, volumes } = container;
  if (imageVolumes.length > 0) {
    await operation.enter("mount-images");
    await mountImages(context, container, options);
  }
  if (volumes.length > 0) {
    await operation.enter("copy-volumes");
    await context.roots.copyVolumes(id, volumes, options.users ?? { uid: 0, gid: 0 });
  }
}

async function mountImages(
  context: ContainerContext,
  container: Container,
  options: RootOptions,
): Promise<void> {
  const mounts = container.config.mounts.filter(({ image }) => image !== undefined);
  const volumes = container.imageVolumes.map(({ image, layers }, index) => ({
    name: mounts[index]?.image?.image ?? image,
    image,
    layers,
    subPath: mounts[index]?.imageSubPath ?? "",
  }));
  try {
    await context.roots.mountImages(container.id, volumes, options);
  } catch (error) {
    // kubelet knows the word (cri-api, pkg/errors).
    throw wrap("ImageVolumeMountFailed", error);
  }
}
