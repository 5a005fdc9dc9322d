import { randomBytes } from "node:crypto";
import { closeSync, lstatSync, mkdirSync, openSync, unlinkSync } from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import { look, onDisk, removeEntry } from "./layer-files.ts";

/** A hard link to a file that only a lower layer can have. Paths in the layer, without symbolic links. */
export interface LowerLink {
  readonly path: string;
  readonly target: string;
}

/** What is told of them goes through a pipe and stays beside the layer. Characters. */
const MAX_PATHS = 512 * 1024;

/**
 * The hard links of a layer whose targets it does not bring. Each is an empty file while the layer is
 * unpacked, so that whatever comes later finds a file there, and may replace it or link to it; at the
 * end they are taken away, for the file itself comes from another layer.
 *
 * An inode is told from a later one with the same number by a name that it keeps in a directory of our own.
 */
export class LowerLinks {
  readonly #directory = `/.lower-links-${randomBytes(16).toString("hex")}`;
  readonly #files = new Map<number, { readonly target: string; readonly names: Set<string> }>();
  #size = 0;

  /** Makes the file that stands for `target`: its inode, and a path by which it can be linked to. */
  standIn(target: string): { readonly inode: number; readonly path: string } {
    if (this.#files.size === 0) mkdirSync(this.#directory, 0o700);
    const path = `${this.#directory}/${this.#files.size}`;
    closeSync(openSync(path, "wx", 0o600));
    const inode = lstatSync(path).ino;
    this.#files.set(inode, { target, names: new Set() });
    return { inode, path };
  }

  /** Whether the inode stands for a lower file. */
  has(inode: number): boolean {
    return this.#files.has(inode);
  }

  /** The file that stands for a lower one was given a name in the layer. */
  named(inode: number, path: string): void {
    const file = this.#files.get(inode);
    if (file === undefined) return;
    file.names.add(path);
    this.#size += path.length + file.target.length;
    if (this.#size > MAX_PATHS) {
      throw new RuntimeError(
        "resource-exhausted",
        `unpack layer: too many hard links to files of lower layers: their names have over ${MAX_PATHS} bytes`,
      );
    }
  }

  /** Takes the files away, and gives the links that nothing took the place of. */
  finish(): readonly LowerLink[] {
    const links: LowerLink[] = [];
    for (const [inode, { target, names }] of this.#files) {
      for (const path of names) {
        if (look(path)?.ino !== inode) continue;
        unlinkSync(onDisk(path));
        links.push({ path, target });
      }
    }
    if (this.#files.size > 0) removeEntry(this.#directory);
    return links;
  }
}
