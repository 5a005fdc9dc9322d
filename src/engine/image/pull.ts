import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import {
  type Descriptor,
  formatReference,
  type Image,
  type ImageReference,
  parseReference,
  type RegistryAuth,
  repositoryName,
  type ResolvedImage,
} from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { ImageContext } from "./context.ts";
import { type ParsedImageConfig, parseImageConfig } from "./parse-config.ts";
import { sweepLater } from "./sweep.ts";

// Under the caller's deadline as well; this one ends a pull that nobody gave any.
const pullMs = 3_600_000;
// Layers of one image at once: the registry's line is shared, and unpacking wants the processor.
const parallelLayers = 3;

/**
 * Pulls an image and answers with its id. What is here already is not fetched again; the same
 * pull asked for twice at once runs once. A layer appears only when its digests are right, the
 * image only when all its layers are there; a pull that fails leaves the layers that are whole to
 * the next one, for a while, and removes nothing that was there before.
 */
export async function pullImage(
  context: ImageContext,
  request: { readonly name: string; readonly auth: RegistryAuth | undefined },
  caller: AbortSignal,
): Promise<Digest> {
  const reference = parseReference(request.name);
  const key = JSON.stringify([formatReference(reference), request.auth ?? null]);
  return context.pulls.join(key, caller, (signal) =>
    pull(context, reference, request.auth, signal),
  );
}

async function pull(
  context: ImageContext,
  reference: ImageReference,
  auth: RegistryAuth | undefined,
  signal: AbortSignal,
): Promise<Digest> {
  const subject = formatReference(reference);
  const log = context.log.with({ image: subject });
  return context.operations.run(
    { name: "pull-image", subject, timeoutMs: pullMs, log },
    async (operation) => {
      using _caller = operation.follow(signal);
      return await fetchImage(context, reference, auth, operation);
    },
  );
}

async function fetchImage(
  context: ImageContext,
  reference: ImageReference,
  auth: RegistryAuth | undefined,
  operation: RunningOperation,
): Promise<Digest> {
  await operation.enter("resolve");
  const resolved = await context.source.resolve(reference, auth, operation.signal);
  await operation.enter("fetch-config");
  const bytes = await context.source.fetchConfig(
    reference,
    resolved.config,
    auth,
    operation.signal,
  );
  const configJson = Buffer.from(bytes).toString("utf8");
  const parsed = parseImageConfig(configJson);
  if (parsed.diffIds.length !== resolved.layers.length) {
    throw new RuntimeError(
      "data-loss",
      `its config names ${String(parsed.diffIds.length)} layers and its manifest ${String(resolved.layers.length)}`,
    );
  }
  // From here on no removal of another image may take these layers away.
  using _claim = context.pulls.claim(parsed.diffIds);
  using _shown = context.progress.watch(
    formatReference(reference),
    resolved.layers.flatMap(({ digest, sizeBytes }, at) => {
      const diffId = parsed.diffIds[at];
      return diffId === undefined ? [] : [{ digest, diffId, sizeBytes }];
    }),
  );
  await operation.enter("fetch-layers");
  try {
    await fetchLayers(context, { reference, auth, resolved, parsed }, operation);
    await operation.enter("write-record");
  } catch (error) {
    sweepLater(context, formatReference(reference));
    throw error;
  }
  context.store.put(imageOf(reference, resolved, parsed, configJson));
  await context.snapshots.claimLayers(parsed.diffIds);
  await operation.enter("answer");
  return resolved.config.digest;
}

interface Fetch {
  readonly reference: ImageReference;
  readonly auth: RegistryAuth | undefined;
  readonly resolved: ResolvedImage;
  readonly parsed: ParsedImageConfig;
}

async function fetchLayers(
  context: ImageContext,
  fetch: Fetch,
  operation: RunningOperation,
): Promise<void> {
  const wanted = fetch.resolved.layers.map((blob, at) => ({
    blob,
    diffId: fetch.parsed.diffIds[at],
  }));
  const queue = wanted.values();
  const failed = new AbortController();
  const signal = AbortSignal.any([operation.signal, failed.signal]);
  const work = async (): Promise<void> => {
    for (const { blob, diffId } of queue) {
      if (diffId !== undefined) await fetchLayer(context, fetch, blob, diffId, signal);
    }
  };
  const workers = Array.from({ length: parallelLayers }, () =>
    work().catch((error: unknown) => {
      failed.abort(error);
      throw error;
    }),
  );
  const results = await Promise.allSettled(workers);
  const failure = results.find((result) => result.status === "rejected");
  if (failure !== undefined) throw (failed.signal.reason ?? failure.reason) as Error;
}

/** One layer, once: images that share it wait for the same fetching, whoever began it. */
async function fetchLayer(
  context: ImageContext,
  fetch: Fetch,
  blob: Descriptor,
  diffId: Digest,
  signal: AbortSignal,
): Promise<void> {
  if (context.snapshots.hasLayer(diffId)) return;
  await context.pulls.join(`layer ${diffId}`, signal, async (joined) => {
    if (context.snapshots.hasLayer(diffId)) return;
    const log = context.log.with({ image: formatReference(fetch.reference) });
    await context.operations.run(
      { name: "pull-layer", subject: diffId, timeoutMs: pullMs, log },
      async (operation) => {
        using _callers = operation.follow(joined);
        await unpackBlob(context, fetch, { blob, diffId }, operation);
        await operation.enter("answer");
      },
    );
  });
}

async function unpackBlob(
  context: ImageContext,
  { reference, auth }: Fetch,
  { blob, diffId }: { readonly blob: Descriptor; readonly diffId: Digest },
  operation: RunningOperation,
): Promise<void> {
  const { signal } = operation;
  await operation.enter("open-blob");
  await using stream = await context.source.openBlob(reference, blob, {
    auth,
    offset: 0n,
    signal,
  });
  const layer = { blob, diffId, chunks: context.progress.count(diffId, stream.chunks) };
  await context.snapshots.unpackLayer(layer, signal, operation);
}

function imageOf(
  reference: ImageReference,
  resolved: ResolvedImage,
  parsed: ParsedImageConfig,
  configJson: string,
): Image {
  const blobs = [resolved.manifest, resolved.config, ...resolved.layers];
  return {
    id: resolved.config.digest,
    repoTags:
      reference.tag === undefined ? [] : [formatReference({ ...reference, digest: undefined })],
    repoDigests: [`${repositoryName(reference)}@${resolved.digest}`],
    sizeBytes: blobs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n),
    layers: resolved.layers.flatMap(({ digest, sizeBytes }, at) => {
      const diffId = parsed.diffIds[at];
      return diffId === undefined ? [] : [{ diffId, digest, sizeBytes }];
    }),
    config: parsed.config,
    configJson,
    pinned: false,
  };
}
