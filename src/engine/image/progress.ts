import type { Digest } from "../../base/digest.ts";
import type { BlobChunk } from "../../base/unread-bytes.ts";

/** A layer of an image that is being pulled. */
export interface LayerView {
  /** The digest of its blob in the registry. */
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Bytes of the blob that were received from the registry and passed to the unpacker so far. */
  readonly fetchedBytes: number;
  /** `unpacking`: all bytes are received, but the layer is not complete yet. */
  readonly state: "waiting" | "fetching" | "unpacking" | "done";
}

/** A pull in progress, as the verbose Status shows it. */
export interface PullView {
  readonly image: string;
  readonly layers: readonly LayerView[];
}

interface WatchedLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly sizeBytes: bigint;
}

/** The download of one layer. It is shown until it is disposed of. */
export interface LayerFetch extends Disposable {
  /** The chunks of the layer's blob, counted as they are consumed. */
  count(chunks: AsyncIterable<BlobChunk>, observer?: ChunkObserver): AsyncGenerator<BlobChunk>;
}

interface ChunkObserver {
  /** Called with the size of each chunk. */
  readonly onBytes: (bytes: number) => void;
  /** Called with the sum of their sizes when all chunks were consumed. */
  readonly onEnd: (bytes: number) => void;
}

interface Fetched {
  bytes: number;
  isWhole: boolean;
}

/** The progress of the pulls in progress, for a person who waits for one. */
export class PullProgress {
  readonly #pulls = new Set<{ readonly image: string; readonly layers: readonly WatchedLayer[] }>();
  /** By diff id, because images share layers: one download counts for every pull that waits for it. */
  readonly #fetched = new Map<Digest, Fetched>();
  readonly #hasLayer: (diffId: Digest) => boolean;

  constructor(hasLayer: (diffId: Digest) => boolean) {
    this.#hasLayer = hasLayer;
  }

  /** Shows a pull until the result is disposed of. */
  watch(image: string, layers: readonly WatchedLayer[]): Disposable {
    const pull = { image, layers };
    this.#pulls.add(pull);
    return { [Symbol.dispose]: () => this.#pulls.delete(pull) };
  }

  /** Starts to show the download of a layer. */
  fetch(diffId: Digest): LayerFetch {
    const fetched: Fetched = { bytes: 0, isWhole: false };
    this.#fetched.set(diffId, fetched);
    return {
      count: (chunks, observer) => count(chunks, fetched, observer),
      [Symbol.dispose]: () => {
        // A download of the same layer from another registry may be shown by now.
        if (this.#fetched.get(diffId) === fetched) this.#fetched.delete(diffId);
      },
    };
  }

  /** All pulls in progress. */
  views(): readonly PullView[] {
    return [...this.#pulls].map(({ image, layers }) => ({
      image,
      layers: layers.map((layer) => this.#view(layer)),
    }));
  }

  #view({ digest, diffId, sizeBytes }: WatchedLayer): LayerView {
    const size = Number(sizeBytes);
    if (this.#hasLayer(diffId)) {
      return { digest, sizeBytes: size, fetchedBytes: size, state: "done" };
    }
    const { bytes, isWhole } = this.#fetched.get(diffId) ?? { bytes: 0, isWhole: false };
    const state = isWhole ? "unpacking" : bytes > 0 ? "fetching" : "waiting";
    return { digest, sizeBytes: size, fetchedBytes: bytes, state };
  }
}

async function* count(
  chunks: AsyncIterable<BlobChunk>,
  fetched: Fetched,
  observer?: ChunkObserver,
): AsyncGenerator<BlobChunk> {
  for await (const chunk of chunks) {
    // The consumer may have released the chunk after the yield.
    const { length } = chunk;
    yield chunk;
    fetched.bytes += length;
    observer?.onBytes(length);
  }
  fetched.isWhole = true;
  observer?.onEnd(fetched.bytes);
}
