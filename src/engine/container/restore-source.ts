import { hostname } from "node:os";
import { join } from "node:path";
import { checkpointFiles, type OpenedCheckpoint } from "../../core/checkpoint/index.ts";
import type { Container, ContainerRestore, RestoreSource } from "../../core/container/index.ts";
import { type Sandbox, usesHostNetwork } from "../../core/sandbox/index.ts";
import type { ContainerContext } from "./context.ts";

/** What the runtime restores a container from. */
export function restoreSource(
  { directory, closeTcp }: ContainerRestore,
  { config }: Pick<Sandbox, "config">,
): RestoreSource {
  const own = usesHostNetwork(config) ? "" : config.hostname;
  // A pod without a hostname has the node's.
  return {
    images: join(directory, checkpointFiles.images),
    closeTcp,
    hostname: own || hostname(),
  };
}

/** Removes the checkpoint that a container was restored from, unless others use it. Idempotent. */
export async function discardRestore(
  { checkpoints }: Pick<ContainerContext, "checkpoints">,
  { restore }: Pick<Container, "restore">,
): Promise<void> {
  if (restore?.owned !== true) return;
  const { files } = await checkpoints.open();
  await files.discard(restore.directory);
}

/** Removes what was made of checkpoints that were opened, for containers that do not exist any more. Idempotent. */
export async function discardOpened(
  { checkpoints }: Pick<ContainerContext, "checkpoints">,
  opened: readonly Pick<OpenedCheckpoint, "directory" | "owned" | "changes">[],
): Promise<void> {
  const { files } = await checkpoints.open();
  for (const { directory, owned } of opened) if (owned) await files.discard(directory);
  const layers = opened.flatMap(({ changes }) => (changes === undefined ? [] : [changes]));
  if (layers.length > 0) await checkpoints.layers.removeUnused(layers);
}

/** Like {@link discardRestore}, in the background, once the container runs: nothing reads the images of its memory any more. */
export function discardLater(
  context: Pick<ContainerContext, "checkpoints" | "janitor">,
  { id, restore }: Pick<Container, "id" | "restore">,
): void {
  context.janitor.adopt(`checkpoint of container ${id}`, () =>
    discardRestore(context, { restore }),
  );
}
