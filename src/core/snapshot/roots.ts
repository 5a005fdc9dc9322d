import type { Digest } from "../../base/digest.ts";
import type { Operation } from "../operation/index.ts";
import type { KnownIds } from "../store/index.ts";
import type { Usage } from "./layers.ts";

/** A mounted root file system of a container. */
export interface RootFs {
  /** Directory that the root is mounted at. */
  readonly path: string;
}

/** The user namespace that a root is for: ids of its files are mapped to the node's ids. */
export interface RootUsers {
  /** Path of the user namespace. */
  readonly namespace: string;
  /** The node's ids that the namespace's root is mapped to. */
  readonly uid: number;
  readonly gid: number;
}

/** How a container's roots are mounted. */
export interface RootOptions {
  /** For containers in a user namespace. */
  readonly users?: RootUsers | undefined;
  /** SELinux label of all files in them. */
  readonly label?: string | undefined;
  /** Maximum size of the writable layer, with volumes of the image. Bytes; 0 or nothing for no limit. */
  readonly limitBytes?: number;
}

/** Files of an image that are mounted into a container, read-only. */
export interface ImageVolume {
  /** The image's name, for errors. */
  readonly name: string;
  /** `Image.id`: volumes of the same image share one mount. */
  readonly image: Digest;
  /** Its layers, lowest first. */
  readonly layers: readonly Digest[];
  /** Directory of the image to show; empty for all of it. */
  readonly subPath: string;
}

/** The owner of a new directory of a container, in ids of the node. */
export interface VolumeOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Root file systems of containers on unpacked layers, with the volumes that come from images. */
export interface Roots {
  /** Directory of the file system that the roots are on. */
  readonly directory: string;
  /**
   * Mounts a writable root of these layers, lowest first, for a container. Options change no file of
   * a layer. Where the file system has no limits, a limit has no effect. `not-found` for a layer that is missing or was not completed.
   */
  mount(
    containerId: string,
    layers: readonly Digest[],
    operation?: Pick<Operation, "enter">,
    options?: RootOptions,
  ): Promise<RootFs>;
  /** Directory that a container's root is mounted at. */
  pathOf(containerId: string): string;
  /**
   * Mounts images for a container whose root is mounted. `not-found` for a missing layer,
   * `invalid-argument` for a sub path that is not a directory of its image: symbolic links are not
   * followed out of it. What a failure leaves is removed by remove(), like the rest.
   */
  mountImages(
    containerId: string,
    volumes: readonly ImageVolume[],
    options?: RootOptions,
  ): Promise<void>;
  /** Directory of number `index` of the volumes of mountImages(). */
  imageVolumeOf(containerId: string, index: number): string;
  /**
   * Makes a writable directory for each path, with a copy of the files at that path of the container's
   * mounted root: owners, modes, extended attributes. Where the root has nothing, the directory is empty
   * and belongs to `owner`. remove() deletes them. `failed-precondition` where the root has a file that
   * is not a directory.
   */
  copyVolumes(containerId: string, paths: readonly string[], owner: VolumeOwner): Promise<void>;
  /** Directory of number `index` of the volumes of copyVolumes(). */
  volumeOf(containerId: string, index: number): string;
  /** Unmounts and removes a container's root, with its images and volumes. Idempotent. */
  remove(containerId: string, operation?: Pick<Operation, "enter">): Promise<void>;
  /** Space of the container's writable layer and volumes, at most 10 s old. */
  usage(containerId: string): Promise<Usage>;
  /** The space in use on the file system of the roots if the layers are on another one; else undefined. */
  separateUsage(): Promise<Usage | undefined>;
  /** Removes roots of containers that are not in `known`; a line for each. */
  sweep(known: KnownIds): Promise<readonly string[]>;
}
