import { hostname } from "node:os";
import { join } from "node:path";
import type { Rollback } from "../../base/rollback.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { Digest } from "../../base/digest.ts";
import { checkpointFiles, type OpenedCheckpoint } from "../../core/checkpoint/index.ts";
import type { Container, ContainerRestore, RestoreSource } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { type Sandbox, usesHostNetwork } from "../../core/sandbox/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import type { ContainerContext, RestoredLayers } from "./context.ts";

/** The layers of changes that a restore uses before records name them. They are kept until this is disposed of. */
export class HeldLayers implements Disposable {
  readonly #layers: RestoredLayers;
  readonly #held = new Map<Digest, Disposable>();

  constructor(layers: RestoredLayers) {
    this.#layers = layers;
  }

  hold(layer: Digest): void {
    if (!this.#held.has(layer)) this.#held.set(layer, this.#layers.hold([layer]));
  }

  /** After the disposal: removes those that nothing else uses. Idempotent. */
  async removeUnused(): Promise<void> {
    if (this.#held.size > 0) await this.#layers.removeUnused([...this.#held.keys()]);
  }

  [Symbol.dispose](): void {
    for (const held of this.#held.values()) held[Symbol.dispose]();
  }
}

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

/** Begins the log of a new container with that of its checkpoint. A create that is repeated leaves a log as it is. */
export async function beginLog(
  { logs, sandboxes }: Pick<ContainerContext, "logs" | "sandboxes">,
  container: Container,
  from: string,
  { operation, undo }: { readonly operation: RunningOperation; readonly undo: Rollback },
): Promise<void> {
  if (!container.hasLog) return;
  await operation.enter("copy-log");
  const { signal } = operation;
  // A disk that hangs must not hold the create.
  const begun = await beforeAbort(logs.begin(container.logPath, from, signal), signal);
  // kubelet counts the files of logs, and gives a repeated create another name.
  undo.defer("remove the log that it began", begun.remove);
  const { dropped } = begun;
  if (dropped === 0) return;
  const text = `left out ${dropped} lines of the log of a checkpoint that are not records of a log`;
  operation.log.warn(text, containerSubject(container, sandboxes));
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

/** Removes the files of checkpoints that were opened, of containers that do not exist any more. Idempotent. */
export async function discardOpened(
  { checkpoints }: Pick<ContainerContext, "checkpoints">,
  opened: readonly Pick<OpenedCheckpoint, "directory" | "owned">[],
): Promise<void> {
  const { files } = await checkpoints.open();
  for (const { directory, owned } of opened) if (owned) await files.discard(directory);
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
