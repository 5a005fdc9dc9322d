import type { Digest } from "../../base/digest.ts";
import type { Descriptor } from "../image/index.ts";
import type { Operation } from "../operation/index.ts";
import type { KnownIds } from "../store/index.ts";

/** Where the bytes of a layer came from: a blob of a registry, which was read to its end and checked. */
export interface LayerOrigin {
  /** As in the image's name, whichever host stood in for it. */
  readonly registry: string;
  readonly digest: Digest;
  /** Of the blob. Bytes. */
  readonly sizeBytes: bigint;
}

/** What a layer may not exceed. */
export interface LayerLimit {
  readonly most: number;
  /** For the error, after "it has more than": the number, and the setting that it comes from. */
  readonly why: string;
}

/** How much a layer may be. What is not there has no limit. */
export interface LayerLimits {
  /** Bytes of its archive without the compression. */
  readonly bytes?: LayerLimit;
  readonly entries?: LayerLimit;
}

/** A compressed layer to unpack, and what it must turn out to be. */
export interface LayerSource {
  readonly blob: Descriptor;
  readonly diffId: Digest;
  /**
   * Where the chunks come from: see {@link LayerOrigin}. Layers of one registry share what they may hold
   * while it sends nothing.
   */
  readonly registry: string;
  readonly limits: LayerLimits;
  /** The blob's bytes, from the beginning. A chunk that was given away is freed once it is used. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** A mounted root file system of a container. */
export interface RootFs {
  /** Directory that the root is mounted at. */
  readonly path: string;
}

/** The user namespace that a root is for: files of ids in it belong to the node's ids behind them. */
export interface RootUsers {
  /** Path of the user namespace. */
  readonly namespace: string;
  /** First ids on the node: who the root of the namespace is. */
  readonly uid: number;
  readonly gid: number;
}

/** How a container's roots are mounted. */
export interface RootOptions {
  /** For containers of a user namespace. */
  readonly users?: RootUsers | undefined;
  /** SELinux label of all files in them. */
  readonly label?: string | undefined;
}

/** Files of an image that are mounted into a container, read-only. */
export interface ImageVolume {
  /** What errors call the image. */
  readonly name: string;
  /** `Image.id`: what is of one image is mounted once. */
  readonly image: Digest;
  /** Its layers, lowest first. */
  readonly layers: readonly Digest[];
  /** Directory in the image to show; empty for all of it. */
  readonly subPath: string;
}

/** Whom a new directory of a container belongs to, as the host numbers it. */
export interface VolumeOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Space that something takes. */
export interface Usage {
  readonly bytes: bigint;
  readonly inodes: bigint;
}

/**
 * Unpacked layers, and root file systems on top of them.
 *
 * A layer is known by its diff id alone, since each is unpacked by itself with its whiteouts in
 * overlayfs' form. It appears under its name only when compressed and uncompressed digest are
 * right and its files are durable. An `operation`, where one is given, hears of the stages.
 */
export interface Snapshots {
  hasLayer(diffId: Digest): boolean;
  /** Whether a layer is here and its bytes have come from there. */
  hasLayerFrom(diffId: Digest, origin: LayerOrigin): boolean;
  /**
   * Says where a layer has come from, if that is not known of it: it was unpacked by a davit that did
   * not keep that. Until the end of the daemon.
   */
  attributeLayer(diffId: Digest, origin: LayerOrigin): void;
  /**
   * Unpacks a layer, and keeps where it has come from. A layer that is here already is not replaced,
   * and gets one more origin when these bytes turn out to be it. `data-loss` when a digest is not the
   * expected one, `invalid-argument` for an archive that is broken or would write outside the layer,
   * `failed-precondition` for one beyond its limits, `resource-exhausted` when too little of the disk
   * would stay free. On failure nothing stays. A source that sends nothing for a while delays no layer
   * of another registry.
   */
  unpackLayer(
    layer: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<void>;
  /**
   * Makes what layers of an image, lowest first, have of those below them: hard links to files that only
   * a lower layer brings, and directories that no entry describes, which are as the lower ones. Idempotent;
   * without it there is no root of such layers. `invalid-argument` for a hard link to no file.
   */
  completeLayers(layers: readonly Digest[], signal: AbortSignal): Promise<void>;
  /** The first of an image's layers that is not here or was not completed. */
  lacking(layers: readonly Digest[]): Digest | undefined;
  /** Removes a layer: its name at once, its files in the background. Idempotent. */
  removeLayer(diffId: Digest): Promise<void>;
  /** The layers that there are. */
  layers(): readonly Digest[];
  /**
   * Of the layers those that no image has stood on yet, with when they were unpacked: what a pull
   * that did not end well leaves to the next one. Nanoseconds since 1970.
   */
  unclaimedLayers(): ReadonlyMap<Digest, bigint>;
  /** Says that an image stands on these layers now. Idempotent. */
  claimLayers(layers: Iterable<Digest>): Promise<void>;
  /**
   * Mounts a writable root of these layers, lowest first, for a container. Options change no file of
   * a layer.
   */
  mount(
    containerId: string,
    layers: readonly Digest[],
    operation?: Pick<Operation, "enter">,
    options?: RootOptions,
  ): Promise<RootFs>;
  /** Directory that a container's root is mounted at. */
  rootOf(containerId: string): string;
  /**
   * Mounts images beside the root of a container, which is there already. `not-found` for a layer
   * that is not here, `invalid-argument` for a sub path that is no directory of its image: no symbolic
   * link leads out of it. What a failure leaves goes with remove(), as all of it does.
   */
  mountImages(
    containerId: string,
    volumes: readonly ImageVolume[],
    options?: RootOptions,
  ): Promise<void>;
  /** Directory that shows number `index` of what mountImages() was given. */
  imageVolumeOf(containerId: string, index: number): string;
  /**
   * Makes a writable directory for each path, with a copy of what the container's mounted root has
   * there: owners, modes, extended attributes. Where it has nothing, the directory is empty and belongs
   * to `owner`. They go with remove(). `failed-precondition` where the root has something else there.
   */
  copyVolumes(containerId: string, paths: readonly string[], owner: VolumeOwner): Promise<void>;
  /** Directory of number `index` of what copyVolumes() was given. */
  volumeOf(containerId: string, index: number): string;
  /** Unmounts and removes a container's root, with its images and volumes. Idempotent. */
  remove(containerId: string, operation?: Pick<Operation, "enter">): Promise<void>;
  /** Space of the container's own writable layer and volumes, at most 10 s old. */
  usage(containerId: string): Promise<Usage>;
  /** Space of all layers, or of these as far as they are here, from memory. */
  layersUsage(of?: Iterable<Digest>): Usage;
  /** Directory of the file system that layers and roots are on. */
  readonly directory: string;
  /** Removes roots of containers that are not in `known`, and half-unpacked layers; a line for each. */
  sweep(known: KnownIds): Promise<readonly string[]>;
}
