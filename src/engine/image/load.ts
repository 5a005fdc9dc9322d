import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import {
  type ArchivedImage,
  type ArchiveOptions,
  formatReference,
  type Image,
  type ImageArchive,
  type ImageReference,
  repositoryName,
} from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { isTooLarge, unpackInAnyFormat } from "../../core/snapshot/index.ts";
import type { ImageContext } from "./context.ts";
import { ciphersOf } from "./encrypted-layers.ts";
import { checkLayerCount, checkUnpackedBytes, limitsOfLayer } from "./limits.ts";
import { type ParsedImageConfig, parseImageConfig } from "./parse-config.ts";
import type { WantedLayer } from "./present-layers.ts";
import { inParallel } from "./pull.ts";
import { removeUnusedLayers } from "./remove.ts";
import { sweepLater } from "./sweep.ts";

// How long one image of an archive may take.
const loadMs = 3_600_000;
// Layers of one image that are unpacked at once.
const parallelLayers = 2;
/**
 * The registry of layers from archives, in their origins. No image name has it, so a layer that was loaded
 * counts for no pull before its registry has served it (decision 14).
 */
const archiveRegistry = "";

/** An image that was loaded, and its names in the archive. */
export interface LoadedImage {
  readonly id: Digest;
  readonly names: readonly string[];
}

/** How to load an archive. */
export interface LoadOptions extends ArchiveOptions {
  /** The name of its only image, instead of the names in it. */
  readonly name?: string | undefined;
}

/**
 * Loads the images of an archive, and yields each one when it is on the disk with its record. Errors as
 * `ImageArchives.open`, and as a pull's for limits and broken layers. The images before a failure stay.
 */
export async function* loadImages(
  context: ImageContext,
  chunks: AsyncIterable<Uint8Array>,
  { name, rootFs }: LoadOptions,
  signal: AbortSignal,
): AsyncGenerator<LoadedImage, void, undefined> {
  const given = name === undefined ? undefined : givenName(context, name);
  if (rootFs !== undefined && given === undefined) {
    throw new RuntimeError("invalid-argument", "load root file system: it must have a name");
  }
  await using archive = await context.archives.open(chunks, { rootFs }, signal);
  const { images } = archive;
  if (images.length === 0) {
    throw new RuntimeError("invalid-argument", "load images: the archive has no images");
  }
  if (given !== undefined && images.length > 1) {
    throw new RuntimeError(
      "invalid-argument",
      `load "${formatReference(given)}": the archive has ${images.length} images, and a name is for one`,
    );
  }
  for (const image of images) {
    const names = given === undefined ? image.names : [given];
    yield await loadImage(context, { archive, image, names }, signal);
  }
}

/** Parses a name that an image gets: with a tag and without a digest. */
export function givenName({ store }: Pick<ImageContext, "store">, text: string): ImageReference {
  const reference = store.referenceOf(text);
  if (reference.digest === undefined) return reference;
  throw new RuntimeError(
    "invalid-argument",
    `name image "${text}": a name with a digest cannot be given, because the digest is that of the content`,
  );
}

interface Load {
  readonly archive: ImageArchive;
  readonly image: ArchivedImage;
  readonly names: readonly ImageReference[];
}

async function loadImage(
  context: ImageContext,
  load: Load,
  signal: AbortSignal,
): Promise<LoadedImage> {
  const [first] = load.names;
  const subject = first === undefined ? load.image.config.digest : formatReference(first);
  const log = context.log.with({ image: subject });
  return context.operations.run(
    { name: "load-image", subject, timeoutMs: loadMs, log },
    async (operation) => {
      using _caller = operation.follow(signal);
      return await unpackImage(context, load, operation);
    },
  );
}

async function unpackImage(
  context: ImageContext,
  load: Load,
  operation: RunningOperation,
): Promise<LoadedImage> {
  const { archive, image } = load;
  await operation.enter("read-config");
  const configJson = Buffer.from(await archive.config(image)).toString("utf8");
  const parsed = parseImageConfig(configJson);
  if (parsed.diffIds.length !== image.layers.length) {
    throw new RuntimeError(
      "data-loss",
      `its config has ${parsed.diffIds.length} layers and the archive has ${image.layers.length} of it`,
    );
  }
  checkLayerCount(parsed.diffIds, context.limits);
  // From here on the removal of another image does not remove these layers.
  using _claim = context.pulls.claim(parsed.diffIds);
  await operation.enter("unpack-layers");
  const missing = parsed.diffIds.filter((diffId) => !context.layers.has(diffId));
  try {
    await unpackLayers(context, load, parsed, operation.signal);
    const { bytes } = context.layers.usage(parsed.diffIds);
    checkUnpackedBytes(Number(bytes), context.limits);
    await operation.enter("complete-layers");
    await context.layers.complete(parsed.diffIds, operation.signal);
    await context.layers.synced();
    await operation.enter("write-record");
  } catch (error) {
    sweepLater(context, "an archive");
    // The next try would fail as well, so these layers are not kept for it.
    if (isTooLarge(error)) {
      const remove = (): Promise<void> => removeUnusedLayers(context, missing);
      context.janitor.adopt(`layers of the rejected image ${image.config.digest}`, remove);
    }
    throw error;
  }
  const own = imageOf(load, parsed, configJson);
  // The blobs of its registry are known already.
  const { layers, sizeBytes } = context.store.find(own.id) ?? own;
  const loaded = context.store.put({ ...own, layers, sizeBytes });
  context.onUsed(loaded.id);
  await context.layers.claim(parsed.diffIds);
  // Who loads an archive may delete it, or switch the machine off.
  await context.recordsSynced();
  await operation.enter("answer");
  return { id: loaded.id, names: load.names.map(formatReference) };
}

async function unpackLayers(
  context: ImageContext,
  { archive, image }: Load,
  { diffIds }: ParsedImageConfig,
  signal: AbortSignal,
): Promise<void> {
  const ciphers = await ciphersOf(context, image.layers, signal);
  const wanted = new Map<Digest, WantedLayer>();
  for (const [at, blob] of image.layers.entries()) {
    const [diffId, cipher] = [diffIds[at], ciphers[at]];
    if (diffId !== undefined) wanted.set(diffId, { blob, diffId, file: undefined, cipher });
  }
  const missing = [...wanted.values()].filter((layer) => !isPresent(context, layer));
  await inParallel(missing, parallelLayers, signal, async ({ blob, diffId, cipher }, ended) => {
    await unpackInAnyFormat(async () => {
      await using stream = await archive.blob(blob);
      const { bytes } = context.layers.usage(diffIds.filter((other) => other !== diffId));
      const limits = limitsOfLayer(context.limits, blob, Number(bytes));
      const { chunks } = stream;
      const layer = { blob, diffId, cipher, registry: archiveRegistry, limits, chunks };
      await context.layers.unpack(layer, ended);
    });
  });
}

/** The archive must have the layer itself: its blob is the plain layer, or was unpacked as it before. */
function isPresent({ layers }: ImageContext, { blob, diffId, cipher }: WantedLayer): boolean {
  if (!layers.has(diffId)) return false;
  const { digest, sizeBytes } = blob;
  const origin = { registry: archiveRegistry, digest, sizeBytes, cipher: cipher?.id };
  return digest === diffId || layers.hasFrom(diffId, origin);
}

function imageOf({ image, names }: Load, parsed: ParsedImageConfig, configJson: string): Image {
  const { digest, config, layers } = image;
  return {
    id: config.digest,
    repoTags: names.map(formatReference).toSorted(),
    // The content has this digest, whatever the name is.
    repoDigests:
      digest === undefined
        ? []
        : names.map((name) => `${repositoryName(name)}@${digest}`).toSorted(),
    sizeBytes: [config, ...layers].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n),
    layers: layers.flatMap((blob, at) => {
      const diffId = parsed.diffIds[at];
      return diffId === undefined
        ? []
        : [{ diffId, digest: blob.digest, sizeBytes: blob.sizeBytes }];
    }),
    config: parsed.config,
    configJson,
    pinned: false,
  };
}
