import type { Digest } from "../../base/digest.ts";

/** A layer of an image that is being pulled. */
export interface LayerView {
  /** Of its blob, as the registry knows it. */
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Bytes of the blob that came from the registry so far, and were handed to the unpacker. */
  readonly fetchedBytes: number;
  /** `unpacking`: all bytes are here, and the layer is not yet. */
  readonly state: "waiting" | "fetching" | "unpacking" | "done";
}

/** A pull under way, as the verbose Status shows it. */
export interface PullView {
  readonly image: string;
  readonly layers: readonly LayerView[];
}

interface WatchedLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly sizeBytes: bigint;
}

/** The fetching of one layer. Shown until it is disposed of. */
export interface LayerFetch extends Disposable {
  /** The chunks of the layer's blob, counted as they are taken. */
  count(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
}

interface Fetched {
  bytes: number;
  isWhole: boolean;
}

/** How far the pulls under way are: for whoever waits for one and wants to see it move. */
export class PullProgress {
  readonly #pulls = new Set<{ readonly image: string; readonly layers: readonly WatchedLayer[] }>();
  /** By diff id, since images share layers: one fetch counts for all who wait for it. */
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

  /** Begins to show the fetching of a layer. */
  fetch(diffId: Digest): LayerFetch {
    const fetched: Fetched = { bytes: 0, isWhole: false };
    this.#fetched.set(diffId, fetched);
    return {
      count: (chunks) => count(chunks, fetched),
      [Symbol.dispose]: () => {
        // Another registry's fetching of the same layer may be what is shown by now.
        if (this.#fetched.get(diffId) === fetched) this.#fetched.delete(diffId);
      },
    };
  }

  /** All pulls under way. */
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
  chunks: AsyncIterable<Uint8Array>,
  fetched: Fetched,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    // Whoever takes the chunk may have freed it when it comes back here.
    const { length } = chunk;
    yield chunk;
    fetched.bytes += length;
  }
  fetched.isWhole = true;
}
