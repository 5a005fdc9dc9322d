import { RuntimeError } from "../../base/errors.ts";
import type { CheckpointTrust } from "../../core/checkpoint/index.ts";
import type { ContainerRestore } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { CheckpointAccess } from "./context.ts";

/** What a container is made of. */
export interface ContainerBase {
  readonly image: Image;
  /** The checkpoint that it continues from. */
  readonly restore?: ContainerRestore | undefined;
  /** The file with the log of the checkpoint, which the container's own log begins with. It need not exist. */
  readonly log?: string | undefined;
}

/** Whether the image of a request is the path of an archive: no name of an image begins with a slash. */
export function isArchive(image: string): boolean {
  return image.startsWith("/");
}

/** Which checkpoints are restored. `failed-precondition`, with the setting, where none is. */
export function trustOf(
  { restore }: Pick<CheckpointAccess, "restore">,
  doing: string,
): CheckpointTrust {
  if (restore !== "off") return restore;
  throw new RuntimeError(
    "failed-precondition",
    `${doing}: this node restores no checkpoints; set checkpoint.restore to "own" or "any"`,
  );
}

/** Throws `failed-precondition`, with the setting, where the image of a new container cannot be a checkpoint. */
export function checkMayRestore(access: CheckpointAccess, image: string): void {
  const doing = `create container of checkpoint "${image}"`;
  if (!access.restoreContainers) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: the image of a container cannot be a checkpoint on this node; set checkpoint.restore_containers = true`,
    );
  }
  trustOf(access, doing);
}
