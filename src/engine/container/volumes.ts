import { RuntimeError, wrap } from "../../base/errors.ts";
import type { CheckedConfig, Container, ContainerImageVolume } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { RootOptions } from "../../core/snapshot/index.ts";
import type { ContainerContext } from "./context.ts";

/** The volumes of a new container. */
export interface FoundVolumes {
  readonly images: readonly ContainerImageVolume[];
  /** The volumes that its image declares. */
  readonly paths: readonly string[];
  /** Declared volumes that are not created because they would hide kernel file systems. */
  readonly skipped: readonly string[];
}

/**
 * The images that mounts of the config name, in the order of the mounts. `not-found` for one that is
 * not present on this node; kubelet pulls it first.
 */
export function findImageVolumes(
  context: Pick<ContainerContext, "images">,
  { mounts }: CheckedConfig,
): readonly ContainerImageVolume[] {
  return mounts.flatMap(({ image: wanted, containerPath }) => {
    if (wanted === undefined) return [];
    const image = context.images.find(wanted.image);
    if (image === undefined) {
      throw new RuntimeError(
        "not-found",
        `create container: image "${wanted.image}" of mount "${containerPath}" is not present on this node; pull it first`,
      );
    }
    const layers = image.layers.map(({ diffId }) => diffId);
    return [{ image: image.id, layers }];
  });
}

/** Mounts the container's image volumes and creates the volumes that its image declares. */
export async function makeVolumes(
  context: Pick<ContainerContext, "roots">,
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
  context: Pick<ContainerContext, "roots">,
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
    // kubelet looks for this word (cri-api, pkg/errors).
    throw wrap("ImageVolumeMountFailed", error);
  }
}
