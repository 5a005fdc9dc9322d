import type { Digest } from "../../base/digest.ts";
import type { BlobChunk } from "../../base/unread-bytes.ts";
import type { Descriptor, LayerCipher } from "../image/index.ts";
import type { Operation } from "../operation/index.ts";

/** Space that files take on disk. */
export interface Usage {
  readonly bytes: bigint;
  readonly inodes: bigint;
}

/** A file system, as statfs(2) describes it. */
export interface FileSystemSpace {
  readonly totalBytes: number;
  /** Without what is reserved for root. */
  readonly freeBytes: number;
  /** 0 on a file system without a table of inodes (btrfs). */
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** The blob of a registry that a layer was unpacked from, read completely and verified. */
export interface LayerOrigin {
  /** As in the image's name, whichever mirror served the blob. */
  readonly registry: string;
  readonly digest: Digest;
  /** Of the blob. Bytes. */
  readonly sizeBytes: bigint;
  /** For an encrypted blob: the id of the LayerCipher that decrypted it. */
  readonly cipher?: string | undefined;
}

/** An upper limit of a layer. */
export interface LayerLimit {
  readonly most: number;
  /** For the error, after "it has more than": the number, and the setting that it comes from. */
  readonly why: string;
}

/** The limits of a layer. A missing one does not apply. */
export interface LayerLimits {
  /** Uncompressed bytes of its archive. */
  readonly bytes?: LayerLimit;
  readonly entries?: LayerLimit;
}

/** A compressed layer to unpack, with the digests that it must have. */
export interface LayerSource {
  readonly blob: Descriptor;
  readonly diffId: Digest;
  /**
   * The registry that the chunks come from, see {@link LayerOrigin}. Layers of one registry share the
   * resources that they may occupy while it sends nothing.
   */
  readonly registry: string;
  readonly limits: LayerLimits;
  /** The pull that waits for it, if one does: of several, the one with the fewest bytes left is unpacked first. */
  readonly pull?: { readonly bytesLeft: number } | undefined;
  /**
   * For a part of an artifact: the path of the file that the blob is. Its `diffId` is that of `fileLayerId()`.
   */
  readonly file?: string | undefined;
  /** What decrypts the blob, if it is encrypted. Its digest and size are those of the encrypted bytes. */
  readonly cipher?: LayerCipher | undefined;
  /** The blob's bytes, from the beginning. A chunk that is marked as transferable is freed once it is used. */
  readonly chunks: AsyncIterable<BlobChunk>;
}

/**
 * Unpacked layers of images.
 *
 * A layer is identified by its diff id alone, since each is unpacked separately with its whiteouts in
 * overlayfs' form. It appears under its name only when the digests of blob and archive are right. Its
 * files are durable a moment later: after a power cut before that it counts as missing. An `operation`, where one is given, enters the stages.
 */
export interface Layers {
  /** Directory of the file system that the layers are on. */
  readonly directory: string;
  has(diffId: Digest): boolean;
  /** Whether the layer is on this node and was unpacked from this blob of this registry. */
  hasFrom(diffId: Digest, origin: LayerOrigin): boolean;
  /**
   * Sets the origin of a layer that has none, because an older davit unpacked it and did not record it.
   * Kept until the end of the daemon.
   */
  attribute(diffId: Digest, origin: LayerOrigin): void;
  /**
   * Unpacks a layer and records its origin. An existing layer is not replaced; it gets one more origin
   * when the bytes have its digests. `data-loss` when a digest or the HMAC of an encrypted blob is not the expected one,
   * `invalid-argument` for an archive that is broken or would write outside the layer,
   * `failed-precondition` for one beyond its limits, `resource-exhausted` when too little disk space
   * would stay free. An OtherFormat for one to unpack again. A failure leaves nothing behind. A source that stalls delays no layer of another
   * registry.
   */
  unpack(
    layer: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<void>;
  /**
   * Makes the files that layers of an image, lowest first, share with the layers below them: hard links
   * to files that only a lower layer has, and directories that no entry describes, which are like the
   * lower ones. Idempotent; roots cannot be mounted on such layers without it. `invalid-argument` for a
   * hard link to a file that does not exist.
   */
  complete(layers: readonly Digest[], signal: AbortSignal): Promise<void>;
  /** Resolves when all layers so far, and what complete() made, are durable. Rejects if that failed. */
  synced(): Promise<void>;
  /** The first of an image's layers that is missing or was not completed. */
  lacking(layers: readonly Digest[]): Digest | undefined;
  /** Removes a layer: its name at once, its files in the background. Idempotent. */
  remove(diffId: Digest): Promise<void>;
  list(): readonly Digest[];
  /**
   * The layers that no image has used yet, with the time when they were unpacked: an unfinished pull
   * leaves them for the next one. Nanoseconds since 1970.
   */
  unclaimed(): ReadonlyMap<Digest, bigint>;
  /** Marks layers as used by an image. Idempotent. */
  claim(layers: Iterable<Digest>): Promise<void>;
  /** Space of all layers, or of those of `of` that are on this node, from memory. */
  usage(of?: Iterable<Digest>): Usage;
  /** The space of their file system. */
  space(): Promise<FileSystemSpace>;
  /** True while removed files are being deleted: their space is not free yet. */
  readonly isDeleting: boolean;
  /**
   * Removes the files that layers share with those below them in chains that do not begin one of `chains()`; a
   * line for each. These are the chains of images, containers and pulls, each with the lowest layer first.
   */
  removeCopyUps(chains: () => Iterable<readonly Digest[]>): Promise<readonly string[]>;
  /** Removes layers that an earlier daemon did not finish; a line for each. */
  sweep(): Promise<readonly string[]>;
}
