import type { Digest } from "../../base/digest.ts";
import { Semaphore } from "../../base/semaphore.ts";
import {
  formatReference,
  type Image,
  type ImageReference,
  type RegistryAuth,
  repositoryName,
  type ResolvedImage,
} from "../../core/image/index.ts";
import type { PodName, RunningOperation } from "../../core/operation/index.ts";
import { isTooLarge, unpackInAnyFormat } from "../../core/snapshot/index.ts";
import { type PulledContent, readContent } from "./content.ts";
import type { ImageContext } from "./context.ts";
import { type Ciphers, ciphersOf } from "./encrypted-layers.ts";
import { checkLayerCount, checkUnpackedBytes, limitsOfLayer } from "./limits.ts";
import { countsForPull, type Puller, type WantedLayer } from "./present-layers.ts";
import { authForName } from "./auth-for-name.ts";
import { removeUnusedLayers } from "./remove.ts";
import { sweepIfFull, sweepLater } from "./sweep.ts";
import type { AllowedPull } from "./verification.ts";

// The deadline of a pull whose caller has none.
const pullMs = 3_600_000;
// Layers of one image that are checked with the registry at once. Each may need a connection.
export const parallelQuestions = 10;

/** What a client asks for. */
export interface PullRequest {
  readonly name: string;
  readonly auth: RegistryAuth | undefined;
  /** Of the pod that needs the image; absent where it is unknown. */
  readonly namespace?: string;
  /** The pod that the image is for, for the history. */
  readonly pod?: PodName | undefined;
}

/** What a pull has found and done. */
export interface PulledImage {
  readonly id: Digest;
  /** The full name, with the digest that it resolved to. */
  readonly name: string;
  /** The compressed size of the layers that it fetched itself. */
  readonly fetchedBytes: number;
}

/** Pulls an image and returns its id; see {@link pullWithResult}. */
export async function pullImage(
  context: ImageContext,
  request: PullRequest,
  caller: AbortSignal,
): Promise<Digest> {
  return (await pullWithResult(context, request, caller)).id;
}

/**
 * Pulls an image.
 *
 * Layers that are present are not fetched again if {@link countsForPull} allows it. Equal pulls at the
 * same time run once. A layer is added after both its digests are verified, and the image after all
 * its layers. A failed pull keeps its complete layers for the next one for a while, and removes
 * nothing that existed before. `failed-precondition` for an image that exceeds a configured limit.
 */
export async function pullWithResult(
  context: ImageContext,
  request: PullRequest,
  caller: AbortSignal,
): Promise<PulledImage> {
  const reference = context.store.referenceOf(request.name);
  const auth = authForName(request, reference);
  // What one namespace may pull is not what another may pull.
  const namespace = context.verification === undefined ? "" : (request.namespace ?? "");
  const key = JSON.stringify([formatReference(reference), auth ?? null, namespace]);
  return context.pulls.join(
    key,
    caller,
    (signal, pods) => pull(context, { reference, auth, namespace, pods }, signal),
    request.pod,
  );
}

interface WantedImage {
  readonly reference: ImageReference;
  readonly auth: RegistryAuth | undefined;
  readonly namespace: string;
  readonly pods: readonly PodName[];
}

async function pull(
  context: ImageContext,
  wanted: WantedImage,
  signal: AbortSignal,
): Promise<PulledImage> {
  const subject = formatReference(wanted.reference);
  const log = context.log.with({ image: subject });
  return context.operations.run(
    { name: "pull-image", subject, timeoutMs: pullMs, log, pods: wanted.pods },
    async (operation) => {
      using _caller = operation.follow(signal);
      return await fetchImage(context, wanted, operation);
    },
  );
}

async function fetchImage(
  context: ImageContext,
  wanted: WantedImage,
  operation: RunningOperation,
): Promise<PulledImage> {
  const { reference, auth } = wanted;
  await operation.enter("resolve");
  const fetcher = await context.source.resolve(reference, auth, operation.signal);
  const resolved = fetcher.image;
  const allowed = await verify(context, { ...wanted, resolved }, operation);
  const parsed = await readContent(fetcher, operation);
  checkLayerCount(parsed.diffIds, context.limits);
  // From here on the removal of another image does not remove these layers.
  using _claim = context.pulls.claim(parsed.diffIds);
  using _shown = context.progress.watch(
    formatReference(reference),
    resolved.layers.flatMap(({ digest, sizeBytes }, at) => {
      const diffId = parsed.diffIds[at];
      return diffId === undefined ? [] : [{ digest, diffId, sizeBytes }];
    }),
  );
  await operation.enter("fetch-layers");
  const ciphers = await ciphersOf(context, resolved.layers, operation.signal);
  const missing = parsed.diffIds.filter((diffId) => !context.layers.has(diffId));
  let fetchedBytes: number;
  try {
    fetchedBytes = await fetchLayers(context, { reference, fetcher, parsed, ciphers }, operation);
    // This includes layers that were present before and those of other pulls.
    const { bytes } = context.layers.usage(parsed.diffIds);
    checkUnpackedBytes(Number(bytes), context.limits);
    await operation.enter("complete-layers");
    await context.layers.complete(parsed.diffIds, operation.signal);
    await operation.enter("write-record");
  } catch (error) {
    const pulled = formatReference(reference);
    sweepLater(context, pulled);
    sweepIfFull(context, error);
    // The next try would fail as well, so these layers are not kept for it.
    if (isTooLarge(error)) {
      const remove = (): Promise<void> => removeUnusedLayers(context, missing);
      context.janitor.adopt(`layers of the rejected image ${pulled}`, remove);
    }
    throw error;
  }
  await allowed?.keep(parsed.id);
  context.store.put(imageOf(reference, resolved, parsed));
  context.onUsed(parsed.id);
  await context.layers.claim(parsed.diffIds);
  const name = formatReference(reference);
  context.onEvent({ kind: "image-pulled", id: parsed.id, name });
  await operation.enter("answer");
  return { id: parsed.id, name: withDigest(reference, resolved), fetchedBytes };
}

/** The name that a pull was asked for, and what it resolved to. */
function withDigest(reference: ImageReference, { digest }: ResolvedImage): string {
  const name = formatReference(reference);
  return reference.digest === undefined ? `${name}@${digest}` : name;
}

/** Undefined where images are not verified: then there is no such stage. */
async function verify(
  { verification }: ImageContext,
  pull: WantedImage & { readonly resolved: ResolvedImage },
  operation: RunningOperation,
): Promise<AllowedPull | undefined> {
  if (verification === undefined) return undefined;
  await operation.enter("verify-image");
  return await verification.atPull(pull, operation.signal);
}

interface Fetch extends Puller {
  readonly parsed: PulledContent;
  readonly ciphers: Ciphers;
}

/** The fetch of one layer, with what lets the next layer be fetched: when its last byte has arrived. */
interface LayerFetch extends Fetch {
  readonly next: Disposable;
  /** Shared by the layers of the pull. */
  readonly pull: { bytesLeft: number; fetchedBytes: number };
}

/** The compressed size of what was fetched. */
async function fetchLayers(
  context: ImageContext,
  fetch: Fetch,
  { signal }: RunningOperation,
): Promise<number> {
  const missing: WantedLayer[] = [];
  await inParallel(wantedLayers(fetch), parallelQuestions, signal, async (layer, ended) => {
    if (await countsForPull(context, fetch, layer, ended)) reused(context, fetch);
    else missing.push(layer);
  });
  // A layer whose files only need the sync delays no other, and shares it.
  const downloads = new Semaphore(context.maxDownloads);
  const bytesLeft = missing.reduce((sum, { blob }) => sum + Number(blob.sizeBytes), 0);
  const pull = { bytesLeft, fetchedBytes: 0 };
  await inParallel(missing, missing.length, signal, async (layer, ended) => {
    using next = await downloads.acquire(ended);
    await fetchLayer(context, { ...fetch, next, pull }, layer, ended);
  });
  return pull.fetchedBytes;
}

function reused({ observer }: ImageContext, { reference }: Fetch): void {
  observer.layer(reference.registry, "reused");
}

/** The layers of an image without duplicates. */
export function wantedLayers({
  fetcher,
  parsed,
  ciphers,
}: Pick<Fetch, "fetcher" | "parsed" | "ciphers">): readonly WantedLayer[] {
  const wanted = new Map<string, WantedLayer>();
  for (const [at, blob] of fetcher.image.layers.entries()) {
    const diffId = parsed.diffIds[at];
    if (diffId === undefined) continue;
    const [file, cipher] = [parsed.artifact?.paths[at], ciphers[at]];
    const key = `${diffId} ${blob.digest} ${blob.sizeBytes} ${cipher?.id}`;
    wanted.set(key, { blob, diffId, file, cipher });
  }
  return [...wanted.values()];
}

/**
 * Runs `work` for all items, `most` at a time, and settles when all started work has ended. The first
 * failure aborts the other work and is what the promise rejects with.
 */
export async function inParallel<T>(
  items: readonly T[],
  most: number,
  signal: AbortSignal,
  work: (item: T, ended: AbortSignal) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const failed = new AbortController();
  const ended = AbortSignal.any([signal, failed.signal]);
  const workers = Array.from({ length: Math.min(most, items.length) }, async () => {
    try {
      for (const item of queue) await work(item, ended);
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  });
  const results = await Promise.allSettled(workers);
  const failure = results.find((result) => result.status === "rejected");
  if (failure !== undefined) throw (failed.signal.reason ?? failure.reason) as Error;
}

/**
 * Fetches one layer. Pulls of the same blob from the same registry share one download. Pulls from other
 * registries do not, since those may be slow or serve something else. The download of another pull
 * does not show that this pull may have the layer, and may fail because of that pull's credentials.
 */
async function fetchLayer(
  context: ImageContext,
  fetch: LayerFetch,
  layer: WantedLayer,
  signal: AbortSignal,
): Promise<void> {
  const { diffId, blob, cipher } = layer;
  const key = `layer ${diffId} of blob ${blob.digest} by ${cipher?.id} of ${fetch.reference.registry}`;
  // The type is not `false`, because the download below assigns it.
  let isOwn = false as boolean;
  do {
    try {
      await context.pulls.join(key, signal, async (joined) => {
        isOwn = true;
        await fetchOwnLayer(context, fetch, layer, joined);
      });
    } catch (error) {
      if (isOwn || signal.aborted) throw error;
    }
  } while (!isOwn && !(await countsForPull(context, fetch, layer, signal)));
  if (isOwn) {
    fetch.pull.fetchedBytes += Number(blob.sizeBytes);
    return;
  }
  fetch.pull.bytesLeft -= Number(blob.sizeBytes);
  reused(context, fetch);
}

async function fetchOwnLayer(
  context: ImageContext,
  fetch: LayerFetch,
  layer: WantedLayer,
  joined: AbortSignal,
): Promise<void> {
  const log = context.log.with({ image: formatReference(fetch.reference) });
  await context.operations.run(
    { name: "pull-layer", subject: layer.diffId, timeoutMs: pullMs, log },
    async (operation) => {
      using _callers = operation.follow(joined);
      await unpackInAnyFormat(() => unpackBlob(context, fetch, layer, operation));
      context.observer.layer(fetch.reference.registry, "fetched");
      await operation.enter("answer");
    },
  );
}

async function unpackBlob(
  context: ImageContext,
  { reference, fetcher, parsed, next, pull }: LayerFetch,
  { blob, diffId, file, cipher }: WantedLayer,
  operation: RunningOperation,
): Promise<void> {
  const { signal } = operation;
  const image = formatReference(reference);
  operation.received(image, 0);
  const end = context.operations.step({
    name: "download layer",
    attributes: { "davit.layer.digest": blob.digest },
  });
  // Without effect after the last byte.
  using _failed = { [Symbol.dispose]: () => end?.({ error: "the download did not end" }) };
  await operation.enter("open-blob");
  await using stream = await fetcher.blob(blob, signal);
  using fetching = context.progress.fetch(diffId);
  const others = parsed.diffIds.filter((other) => other !== diffId);
  const { bytes } = context.layers.usage(others);
  const layer = {
    blob,
    diffId,
    file,
    cipher,
    registry: reference.registry,
    pull,
    limits: limitsOfLayer(context.limits, blob, Number(bytes)),
    chunks: fetching.count(stream.chunks, {
      onBytes: (received) => {
        pull.bytesLeft -= received;
        context.observer.received(reference.registry, received);
      },
      onEnd: (all) => {
        next[Symbol.dispose]();
        operation.received(image, all);
        end?.({ attributes: { "davit.layer.bytes": all } });
      },
    }),
  };
  await context.layers.unpack(layer, signal, operation);
}

function imageOf(
  reference: ImageReference,
  resolved: ResolvedImage,
  { id, diffIds, config, configJson, artifact }: PulledContent,
): Image {
  const blobs = [resolved.manifest, resolved.config, ...resolved.layers];
  return {
    id,
    // A name with both was pulled by its digest, so nothing is known about its tag.
    repoTags:
      reference.tag === undefined || reference.digest !== undefined
        ? []
        : [formatReference(reference)],
    repoDigests: [`${repositoryName(reference)}@${resolved.digest}`],
    sizeBytes: blobs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n),
    layers: resolved.layers.flatMap(({ digest, sizeBytes }, at) => {
      const diffId = diffIds[at];
      return diffId === undefined ? [] : [{ diffId, digest, sizeBytes }];
    }),
    config,
    configJson,
    pinned: false,
    ...(artifact && { artifactType: artifact.type }),
    ...(resolved.checkpointOf !== undefined && { checkpointOf: resolved.checkpointOf }),
  };
}
