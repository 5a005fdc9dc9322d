import type { Digest } from "../../base/digest.ts";
import { type ErrorKind, kindOf, messageOf } from "../../base/errors.ts";
import {
  type ExplainedHost,
  formatReference,
  type ImageFetcher,
  type ImageReference,
  type RegistryAuth,
  type ResolvedImage,
} from "../../core/image/index.ts";
import { authForName } from "./auth-for-name.ts";
import { type PulledContent, readContent } from "./content.ts";
import type { ImageContext } from "./context.ts";
import { type Ciphers, ciphersOf } from "./encrypted-layers.ts";
import { checkLayerCount } from "./limits.ts";
import { decideLayer, type LayerDecision, type WantedLayer } from "./present-layers.ts";
import { inParallel, parallelQuestions, wantedLayers } from "./pull.ts";

/** The unpacked size of a layer of unknown content, in compressed sizes, where the node has no images. */
const usualRatio = 2.5;

/** A layer, and what a pull would do with it. */
export interface ExplainedLayer extends WantedLayer {
  readonly decision: LayerDecision;
}

/** What a pull would do now. What was not found out before the error is empty. */
export interface PullExplanation {
  /** The full name. */
  readonly name: string;
  /** In the order in which they would be asked. */
  readonly hosts: readonly ExplainedHost[];
  readonly image: ResolvedImage | undefined;
  /** The id of the image, if it is on this node already. */
  readonly presentId: Digest | undefined;
  /** Lowest first. */
  readonly layers: readonly ExplainedLayer[];
  /** The compressed size of the layers that would be fetched. */
  readonly fetchBytes: bigint;
  /** An estimate of the space that they would take, by the images of this node. */
  readonly estimatedDiskBytes: bigint;
  /** Why the pull would fail. */
  readonly error: { readonly kind: ErrorKind; readonly message: string } | undefined;
}

/**
 * Explains what a pull would do, without fetching a layer: asks the registry for manifest and config, and
 * for each present layer whether it grants it. A failure is a part of the explanation. Rejects for a name
 * that is not one, and when the signal is aborted.
 */
export async function explainPull(
  context: ImageContext,
  request: { readonly name: string; readonly auth: RegistryAuth | undefined },
  signal: AbortSignal,
): Promise<PullExplanation> {
  signal.throwIfAborted();
  const reference = context.store.referenceOf(request.name);
  const auth = authForName(request, reference);
  const found: Found = { hosts: [], image: undefined, presentId: undefined, layers: [] };
  let error: PullExplanation["error"];
  try {
    await explainInto(found, context, { reference, auth }, signal);
  } catch (cause) {
    signal.throwIfAborted();
    error = { kind: kindOf(cause), message: messageOf(cause) };
  }
  const fetched = found.layers.filter(({ decision }) => !isUsed(decision));
  // A layer that is here and fetched to verify it is not kept a second time.
  const missing = fetched.filter(({ decision }) => decision === "missing");
  return {
    ...found,
    name: formatReference(reference),
    fetchBytes: sizeOf(fetched),
    estimatedDiskBytes: estimate(context, sizeOf(missing)),
    error,
  };
}

type Found = {
  -readonly [Key in "hosts" | "image" | "presentId" | "layers"]: PullExplanation[Key];
};

async function explainInto(
  found: Found,
  context: ImageContext,
  { reference, auth }: { reference: ImageReference; auth: RegistryAuth | undefined },
  signal: AbortSignal,
): Promise<void> {
  found.hosts = await context.source.hosts(reference, auth, signal);
  const fetcher = await context.source.resolve(reference, auth, signal);
  found.image = fetcher.image;
  const parsed = await readContent(fetcher, { signal, enter: () => Promise.resolve() });
  found.presentId = context.store.find(parsed.id)?.id;
  checkLayerCount(parsed.diffIds, context.limits);
  const ciphers = await ciphersOf(context, fetcher.image.layers, signal);
  found.layers = await explainLayers(context, { reference, fetcher, parsed, ciphers }, signal);
}

async function explainLayers(
  context: ImageContext,
  fetch: {
    readonly reference: ImageReference;
    readonly fetcher: ImageFetcher;
    readonly parsed: PulledContent;
    readonly ciphers: Ciphers;
  },
  signal: AbortSignal,
): Promise<readonly ExplainedLayer[]> {
  const wanted = wantedLayers(fetch);
  const decisions = new Map<WantedLayer, LayerDecision>();
  await inParallel(wanted, parallelQuestions, signal, async (layer, ended) => {
    decisions.set(layer, await decideLayer(context, fetch, layer, ended));
  });
  return wanted.map((layer) => ({ ...layer, decision: decisions.get(layer) ?? "missing" }));
}

/** Whether the pull would use the layer that is here. */
function isUsed(decision: LayerDecision): boolean {
  return decision === "trusted" || decision === "granted";
}

function sizeOf(layers: readonly WantedLayer[]): bigint {
  return layers.reduce((sum, { blob }) => sum + blob.sizeBytes, 0n);
}

/** The space of layers with this compressed size, if they unpack like those of this node's images. */
function estimate({ store, layers }: ImageContext, compressedBytes: bigint): bigint {
  const here = new Map<Digest, bigint>();
  for (const image of store.all()) {
    for (const { diffId, sizeBytes } of image.layers) here.set(diffId, sizeBytes);
  }
  const packed = [...here.values()].reduce((sum, bytes) => sum + bytes, 0n);
  const unpacked = layers.usage(here.keys()).bytes;
  const ratio = packed === 0n ? usualRatio : Math.max(1, Number(unpacked) / Number(packed));
  return BigInt(Math.round(Number(compressedBytes) * ratio));
}
