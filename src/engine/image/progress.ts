import type { Digest } from "../../base/digest.ts";

/** A layer of an image that is being pulled. */
export interface LayerView {
  /** Of its blob, as the registry knows it. */
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Bytes of the blob that came from the registry so far, and were handed to the unpacker. */
  readonly fetchedBytes: number;
  readonly state: "waiting" | "fetching" | "done";
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

/** How far the pulls under way are: for whoever waits for one and wants to see it move. */
export class PullProgress {
  readonly #pulls = new Set<{ readonly image: string; readonly layers: readonly WatchedLayer[] }>();
  /** By diff id, since images share layers: one fetch counts for all who wait for it. */
  readonly #fetched = new Map<Digest, number>();
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

  /** The chunks of a layer's blob, counted as they are taken. */
  async *count(diffId: Digest, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    this.#fetched.set(diffId, bytes);
    try {
      for await (const chunk of chunks) {
        // Whoever takes the chunk may have freed it when it comes back here.
        const { length } = chunk;
        yield chunk;
        bytes += length;
        this.#fetched.set(diffId, bytes);
      }
    } finally {
      this.#fetched.delete(diffId);
    }
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
    const fetched = this.#fetched.get(diffId);
    if (fetched !== undefined) {
      return { digest, sizeBytes: size, fetchedBytes: fetched, state: "fetching" };
    }
    return this.#hasLayer(diffId)
      ? { digest, sizeBytes: size, fetchedBytes: size, state: "done" }
      : { digest, sizeBytes: size, fetchedBytes: 0, state: "waiting" };
  }
}
