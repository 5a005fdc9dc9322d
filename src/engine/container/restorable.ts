import { basename } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { CheckpointFacts } from "../../core/checkpoint/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ContainerContext } from "./context.ts";

/** Whether an image is the one that a checkpoint was made with: by its id, or by a digest of one of its names. */
export function isImageOf(
  { imageDigests }: Pick<CheckpointFacts, "imageDigests">,
  image: Pick<Image, "id" | "repoDigests">,
): boolean {
  const own = new Set([image.id, ...image.repoDigests.map(digestOf)]);
  return imageDigests.some((text) => own.has(digestOf(text)));
}

/** The image of a checkpoint on this node, found by its digests alone. Undefined if it is not there. */
export function imageByDigest(
  images: ContainerContext["images"],
  facts: Pick<CheckpointFacts, "imageDigests">,
): Image | undefined {
  return [...images.all()].find((image) => isRunnable(image) && isImageOf(facts, image));
}

/** Whether an image has a program to run: it is neither an artifact nor a checkpoint. */
export function isRunnable({ artifactType, checkpointOf }: Image): boolean {
  return artifactType === undefined && checkpointOf === undefined;
}

/** The part of "name@digest" that does not depend on the name. */
function digestOf(text: string): string {
  return text.slice(text.lastIndexOf("@") + 1);
}

/**
 * Rejects a checkpoint that the containers of a sandbox cannot continue from, with `failed-precondition`: its handler
 * cannot restore, or has another OCI runtime, or only one of the two has a terminal.
 */
export function checkRestorable(
  context: Pick<ContainerContext, "runtimeOf">,
  facts: Pick<CheckpointFacts, "name" | "runtime" | "terminal">,
  into: { readonly handler: Sandbox["handler"]; readonly terminal: boolean },
  doing: string,
): void {
  const { handler, terminal } = into;
  const refuse = (why: string): never => {
    throw new RuntimeError("failed-precondition", `${doing}: ${why}`);
  };
  const { captures } = context.runtimeOf(handler);
  const obstacle = captures.obstacle(handler, "restore");
  if (obstacle !== undefined) refuse(obstacle);
  const own = basename(captures.ociRuntimeOf(handler));
  const of = `the checkpoint of container ${JSON.stringify(facts.name)}`;
  // Some checkpoints from elsewhere do not say it.
  if (facts.runtime !== "" && basename(facts.runtime) !== own) {
    const made = JSON.stringify(basename(facts.runtime));
    refuse(
      `${of} was made by ${made}, and handler "${handler.name}" has "${own}"; use a handler with the same runtime`,
    );
  }
  if (facts.terminal === terminal) return;
  refuse(
    `${of} has ${facts.terminal ? "a" : "no"} terminal; set tty in the request to ${String(facts.terminal)}`,
  );
}
