import { join } from "node:path";
import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { checkpointFiles, type OpenedCheckpoint } from "../../core/checkpoint/index.ts";
import type { CheckedConfig } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ContainerContext } from "./context.ts";
import { type ContainerBase, trustOf } from "./may-restore.ts";
import { checkRestorable, imageByDigest } from "./restorable.ts";
import { discardOpened, type HeldLayers } from "./restore-source.ts";
import { verifyImages } from "./verify-images.ts";

/** A container that is to continue from a checkpoint. */
interface ArchiveRestore {
  /** The image of the request: the path of an archive, or the name of `image`. */
  readonly name: string;
  /** The image that has the checkpoint; undefined for an archive. */
  readonly image: Image | undefined;
  /** Of the new container. */
  readonly id: string;
  readonly sandbox: Sandbox;
  readonly config: CheckedConfig;
  /** Keeps the layer of its changes. */
  readonly held: HeldLayers;
}

/**
 * Opens the archive or the image of a checkpoint for a new container, on the image that the checkpoint was made with.
 * Nothing is pulled: `not-found` if that image is not on this node, `failed-precondition` if the handler cannot restore
 * it. Errors of the checkpoint are those of Checkpoints.openArchive.
 */
export async function openArchive(
  context: ContainerContext,
  restore: ArchiveRestore,
  operation: RunningOperation,
  undo: Rollback,
): Promise<ContainerBase> {
  const { name, sandbox, config, held } = restore;
  const doing = `restore a container from "${name}"`;
  undo.defer("remove the layer of its changes", () => held.removeUnused());
  const opened = await open(context, { ...restore, doing }, operation);
  const { directory, owned, facts, changes } = opened;
  undo.defer("remove the files of its checkpoint", () => discardOpened(context, [opened]));
  checkRestorable(context, facts, { handler: sandbox.handler, terminal: config.tty }, doing);
  const image = imageByDigest(context.images, facts);
  if (image === undefined) {
    throw new RuntimeError(
      "not-found",
      `${doing}: its image ${JSON.stringify(facts.imageName)} is not present on this node; pull it first`,
    );
  }
  const log = join(directory, checkpointFiles.log);
  return { image, restore: { directory, owned, closeTcp: true, changes }, log };
}

async function open(
  context: ContainerContext,
  { name, image, id, sandbox, config, held, doing }: ArchiveRestore & { readonly doing: string },
  operation: RunningOperation,
): Promise<OpenedCheckpoint> {
  const { checkpoints } = context;
  const trust = trustOf(checkpoints, doing);
  const { files } = await checkpoints.open();
  const hold = (layer: Digest): void => held.hold(layer);
  const options = { containerId: id, trust, hold };
  if (image === undefined) {
    await operation.enter("open-checkpoint");
    return await files.openArchive(name, options, operation);
  }
  const [layer] = image.layers;
  if (layer === undefined || image.layers.length > 1) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: the image has ${image.layers.length} layers, and that of a checkpoint has one; build it of the archive alone, as "checkpointctl build" does`,
    );
  }
  context.onImageUsed(image.id);
  // The image may be removed meanwhile.
  using _layer = checkpoints.layers.hold([layer.diffId]);
  await verifyImages(context, { config, sandbox, image, volumes: { images: [] } }, operation);
  await operation.enter("open-checkpoint");
  const chunks = checkpoints.layers.archive(layer.diffId, operation.signal);
  return await files.openStream({ name, chunks }, options, operation);
}
