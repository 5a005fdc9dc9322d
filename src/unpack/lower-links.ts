import { randomBytes } from "node:crypto";

import { RuntimeError } from "../base/errors.ts";
import type { LayerFiles } from "./layer-files.ts";

/** A hard link to a file that only a lower layer can have. Paths in the layer, without symbolic links. */
export interface LowerLink {
  readonly path: string;
  readonly target: string;
}

/** The limit of the report about them, which is sent through a pipe and stored with the layer. Characters. */
const MAX_PATHS = 512 * 1024;

/**
 * The hard links of a layer whose targets are not in it. Each is an empty placeholder file while the layer is
 * unpacked, so that later entries can replace it or link to it. At the
 * end the placeholders are removed, because the file itself is in another layer.
 *
 * A private directory keeps a name of each placeholder, so that its inode number is not reused.
 */
export class LowerLinks {
  readonly #directory = `/.lower-links-${randomBytes(16).toString("hex")}`;
  readonly #files = new Map<number, { readonly target: string; readonly names: Set<string> }>();
  readonly #layer: LayerFiles;
  #size = 0;

  constructor(layer: LayerFiles) {
    this.#layer = layer;
  }

  /** Makes the placeholder for `target`. Returns its inode and a path to link to. */
  placeholder(target: string): { readonly inode: number; readonly path: string } {
    if (this.#files.size === 0) this.#layer.makeDirectory(this.#directory);
    const path = `${this.#directory}/${this.#files.size}`;
    this.#layer.openFile(path);
    this.#layer.closeFile();
    const inode = this.#layer.find(path)?.ino ?? 0;
    this.#files.set(inode, { target, names: new Set() });
    return { inode, path };
  }

  /** Whether the inode is that of a placeholder. */
  has(inode: number): boolean {
    return this.#files.has(inode);
  }

  /** Records a name of a placeholder in the layer. */
  named(inode: number, path: string): void {
    const file = this.#files.get(inode);
    if (file === undefined) return;
    file.names.add(path);
    this.#size += path.length + file.target.length;
    if (this.#size > MAX_PATHS) {
      throw new RuntimeError(
        "resource-exhausted",
        `unpack layer: too many hard links to files of lower layers: their names have more than ${MAX_PATHS} bytes`,
      );
    }
  }

  /** Removes the placeholders, and returns the links that were not replaced. */
  finish(): readonly LowerLink[] {
    const links: LowerLink[] = [];
    for (const [inode, { target, names }] of this.#files) {
      for (const path of names) {
        if (this.#layer.find(path)?.ino !== inode) continue;
        this.#layer.remove(path);
        links.push({ path, target });
      }
    }
    if (this.#files.size > 0) this.#layer.remove(this.#directory);
    return links;
  }
}
