import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { CheckedConfig } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ContainerContext } from "./context.ts";
import { type ContainerBase, trustOf } from "./may-restore.ts";
import { checkRestorable, imageByDigest } from "./restorable.ts";
import { discardOpened, type HeldLayers } from "./restore-source.ts";

/** A container that is to continue from an archive. */
interface ArchiveRestore {
  /** The path of the archive. */
  readonly location: string;
  /** Of the new container. */
  readonly id: string;
  readonly sandbox: Sandbox;
  readonly config: CheckedConfig;
  /** Keeps the layer of its changes. */
  readonly held: HeldLayers;
}

/**
 * Opens the archive of a checkpoint for a new container, on the image that the checkpoint was made with. Nothing is
 * pulled: `not-found` if the image is not on this node, `failed-precondition` if the handler cannot restore it. Errors of the archive are those of Checkpoints.openArchive.
 */
export async function openArchive(
  context: ContainerContext,
  { location, id, sandbox, config, held }: ArchiveRestore,
  operation: RunningOperation,
  undo: Rollback,
): Promise<ContainerBase> {
  const doing = `restore a container from "${location}"`;
  const trust = trustOf(context.checkpoints, doing);
  await operation.enter("open-checkpoint");
  const { files } = await context.checkpoints.open();
  undo.defer("remove the layer of its changes", () => held.removeUnused());
  const hold = (layer: Digest): void => held.hold(layer);
  const opened = await files.openArchive(location, { containerId: id, trust, hold }, operation);
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
  return { image, restore: { directory, owned, closeTcp: true, changes } };
}
