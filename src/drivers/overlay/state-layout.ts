import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { type Digest, hexOf } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";

/** Prefix of a directory that is being created; a crash leaves it. */
export const NEW_PREFIX = ".new-";
/** Prefix of a directory that is being deleted. */
export const GONE_PREFIX = ".gone-";

/** Prefix of the files that a layer shares with those below it. */
export const COPY_UP_PREFIX = ".copy-up-";
/** The same, while they are being created. */
export const NEW_COPY_UP_PREFIX = ".half-copy-up-";

/** In the directory of a root: the layers that are mounted from images for it, a line for each. */
export const MOUNTED_LAYERS = "mounted-layers";

/** In a layer's directory: no image has used it yet. */
export const UNCLAIMED = "unclaimed";

/** In a layer's or copy-up's directory: the boot that made it, until its files are on the disk. */
export const UNSYNCED = "unsynced";

/**
 * The paths of layers and roots:
 *
 *   layers/<hex of the diff id>/{fs,layer.json,unclaimed,unsynced}
 *   layers/<hex of the diff id>/image/layer.erofs   the files of a layer of this format, to be mounted on fs
 *   layers/.copy-up-<hex of a chain of layers>/{fs,copy-up.json,unsynced}
 *                                                   files that the last of them shares with the others
 *   layers/.empty                                   the lower directory of a root without layers
 *   roots/<container id>/{upper,work,merged,mounted-layers}
 *   roots/<container id>/images/{whole-<n>,<n>}     images of image volumes, and what each one shows
 *   roots/<container id>/volumes/<n>                volumes that the container's image declares
 */
export class StateLayout {
  readonly root: string;
  readonly layers: string;
  readonly roots: string;
  readonly empty: string;

  constructor(root: string) {
    this.root = root;
    this.layers = join(root, "layers");
    this.roots = join(root, "roots");
    this.empty = join(this.layers, ".empty");
  }

  layer(diffId: Digest): string {
    return join(this.layers, hexOf(diffId));
  }

  /** The file of a layer whose format is "erofs". */
  image(diffId: Digest): string {
    return join(this.layer(diffId), "image", "layer.erofs");
  }

  /** The directory of a container's root. `invalid-argument` for an id that is not a plain name. */
  container(id: string): string {
    if (!/^[A-Za-z0-9][\w.-]{0,200}$/.test(id)) {
      throw new RuntimeError("invalid-argument", `find root of container "${id}": invalid id`);
    }
    return join(this.roots, id);
  }
}

/** A unique path in the directory. */
export function asideOf(directory: string, prefix: string): string {
  return join(directory, `${prefix}${randomUUID()}`);
}
