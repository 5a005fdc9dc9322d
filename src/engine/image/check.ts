import type { Digest } from "../../base/digest.ts";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { type Image, parseReference } from "../../core/image/index.ts";
import type { LayerProblem } from "../../core/snapshot/index.ts";
import type { ImageContext } from "./context.ts";
import { pullImage } from "./pull.ts";
import { forgetImage, removeUnusedLayers } from "./remove.ts";

/** What to check. */
export interface CheckRequest {
  /** Names or ids; all images if empty. */
  readonly images: readonly string[];
  /** Also reads every file. */
  readonly deep: boolean;
  /** Pulls broken layers again, and removes images that cannot be repaired and that no container uses. */
  readonly repair: boolean;
}

/** How an image is at the end of its check. */
export type CheckResult = "whole" | "broken" | "repaired" | "removed";

/** A problem, or an image that was checked to its end. */
export type CheckEvent =
  | ({ readonly kind: "problem"; readonly image: Image } & LayerProblem)
  | {
      readonly kind: "checked";
      readonly image: Image;
      readonly result: CheckResult;
      /** Why it could not be repaired; otherwise empty. */
      readonly message: string;
    };

/**
 * Compares images with what is on the disk, one after the other. `not-found` for an unknown name. An image that is
 * removed meanwhile is skipped.
 */
export async function* checkImages(
  context: ImageContext,
  request: CheckRequest,
  signal: AbortSignal,
): AsyncGenerator<CheckEvent, void, undefined> {
  for (const { id } of chosen(context, request.images)) {
    signal.throwIfAborted();
    const image = context.store.find(id);
    if (image !== undefined) yield* checkImage(context, image, request, signal);
  }
}

function chosen({ store }: ImageContext, words: readonly string[]): readonly Image[] {
  if (words.length === 0) return [...store.all()];
  return words.map((word) => {
    const image = store.find(word);
    if (image !== undefined) return image;
    throw new RuntimeError(
      "not-found",
      `check image "${word}": it is not on this node; see "davit images"`,
    );
  });
}

async function* checkImage(
  context: ImageContext,
  image: Image,
  { deep, repair }: CheckRequest,
  signal: AbortSignal,
): AsyncGenerator<CheckEvent, void, undefined> {
  const layers = image.layers.map(({ diffId }) => diffId);
  const broken = new Set<Digest>();
  {
    // A removal of the image meanwhile keeps its layers, and would look like broken ones.
    using _claim = context.pulls.claim(layers);
    for await (const problem of context.checker.check(layers, { deep }, signal)) {
      broken.add(problem.layer);
      yield { kind: "problem", image, ...problem };
    }
  }
  if (broken.size === 0) {
    yield { kind: "checked", image, result: "whole", message: "" };
  } else if (!repair) {
    yield { kind: "checked", image, result: "broken", message: "" };
  } else {
    yield { kind: "checked", image, ...(await repairImage(context, image, broken, signal)) };
  }
}

interface Repair {
  readonly result: CheckResult;
  readonly message: string;
}

async function repairImage(
  context: ImageContext,
  image: Image,
  broken: ReadonlySet<Digest>,
  signal: AbortSignal,
): Promise<Repair> {
  const used = new Set([...context.chainsInUse()].flat());
  if ([...broken].some((layer) => used.has(layer))) {
    return {
      result: "broken",
      message: "a container uses a broken layer: remove the container, then check again",
    };
  }
  context.log.warn("removing broken layers, to pull them again", {
    image: image.id,
    layers: [...broken],
  });
  for (const layer of broken) await context.layers.remove(layer);
  const failures: string[] = [];
  // By digest first: a tag may name another image by now.
  for (const name of [...image.repoDigests, ...image.repoTags]) {
    try {
      await pullSame(context, image.id, name, signal);
      return { result: "repaired", message: "" };
    } catch (error) {
      signal.throwIfAborted();
      failures.push(messageOf(error));
    }
  }
  forgetImage(context, image);
  const layers = image.layers.map(({ diffId }) => diffId);
  context.janitor.adopt(`layers of broken image ${image.id}`, () =>
    removeUnusedLayers(context, layers),
  );
  const why = failures[0] ?? "it has no name to pull it by";
  return { result: "removed", message: `${why}; pull or load the image again` };
}

/** Pulls an image again, unless the name is that of another one now. */
async function pullSame(
  context: ImageContext,
  id: Digest,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const { image } = await context.source.resolve(parseReference(name), undefined, signal);
  // The id of an artifact is the digest of its manifest.
  const found = image.artifact === undefined ? image.config.digest : image.manifest.digest;
  if (found !== id) {
    throw new RuntimeError("not-found", `pull "${name}": it is another image by now`);
  }
  await pullImage(context, { name, auth: undefined }, signal);
}
