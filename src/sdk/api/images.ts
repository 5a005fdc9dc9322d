/** An image on the server. */
export interface Image {
  /** The digest of its configuration. */
  readonly id: string;
  /** Its names with tags. */
  readonly names: readonly string[];
  /** Its names with digests. */
  readonly digests: readonly string[];
  /** The size of its layers; 0 where the server does not tell it. */
  readonly sizeBytes: number;
  /** Gives it one more name. */
  tag(name: string): Promise<void>;
  /** The image as an archive, which is a docker archive and an OCI layout at once. */
  save(options?: { readonly signal?: AbortSignal }): AsyncIterable<Uint8Array>;
  /** Removes the image with all its names. Containers that use it keep running. */
  remove(): Promise<void>;
}

/** How far the pull of a layer is. */
export interface LayerProgress {
  readonly digest: string;
  /** The compressed size; 0 while it is not known. */
  readonly sizeBytes: number;
  readonly fetchedBytes: number;
  readonly state: "waiting" | "fetching" | "unpacking" | "done";
}

/** How far a pull is. */
export interface PullProgress {
  /** The stage, such as "resolve" or "fetch". */
  readonly stage: string;
  /** The layers, lowest first; empty until they are known. */
  readonly layers: readonly LayerProgress[];
}

/**
 * A pull that runs. Awaiting it gives the image; looping over it gives its progress. A failure is thrown to whoever
 * awaits or loops.
 */
export interface Pull extends PromiseLike<Image>, AsyncIterable<PullProgress> {}
