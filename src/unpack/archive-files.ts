import { createHash, type Hash } from "node:crypto";
import { closeSync, constants, openSync, writeSync } from "node:fs";

import { RuntimeError, wrap } from "../base/errors.ts";
import { layerPath } from "./layer-files.ts";
import { printable, type TarEntry } from "./tar-entry.ts";
import { brokenArchive } from "./tar-header.ts";
import type { TarSink } from "./tar-reader.ts";

/** A file of an archive of images. */
export interface ArchiveFile {
  /** Its name in the archive: absolute, without `.`, `..` and links. */
  readonly name: string;
  /** Its name on the disk. */
  readonly file: number;
  readonly size: number;
  /** `sha256:` and hex. */
  readonly digest: string;
}

/** A hard or symbolic link of an archive. */
export interface ArchiveLink {
  readonly name: string;
  /** The name that it leads to, which may be another link or missing. */
  readonly target: string;
}

/** Characters of all names of an archive, which are reported. */
const MAX_NAMES = 1024 * 1024;

/**
 * Keeps the files of an archive of images below `/`, which must be a directory of their own (chroot). Their
 * names on the disk are numbers: a name in the archive is only a text. Links are recorded and not made;
 * all other entries are ignored, as other readers of such archives do.
 */
export class ArchiveFiles implements TarSink {
  readonly files: ArchiveFile[] = [];
  readonly links: ArchiveLink[] = [];
  #names = 0;
  #count = 0;
  #open:
    | { readonly fd: number; readonly name: string; readonly hash: Hash; size: number }
    | undefined;

  entry(entry: TarEntry): void {
    const { type, path } = entry;
    if (type === "file") {
      const name = this.#named(layerPath(path));
      const { O_CREAT, O_EXCL, O_WRONLY } = constants;
      const fd = openSync(`/${this.#count++}`, O_WRONLY | O_CREAT | O_EXCL, 0o600);
      this.#open = { fd, name, hash: createHash("sha256"), size: 0 };
    } else if (type === "link" || type === "symlink") {
      const target = targetOf(entry);
      // One that leads out of the archive leads nowhere.
      if (target !== undefined) this.links.push({ name: this.#named(layerPath(path)), target });
    }
  }

  data(bytes: Buffer): void {
    const open = this.#open;
    if (open === undefined) return;
    open.hash.update(bytes);
    open.size += bytes.length;
    for (let at = 0; at < bytes.length; ) at += writeSync(open.fd, bytes, at);
  }

  hole(): void {
    const name = printable(this.#open?.name ?? "");
    throw brokenArchive(`"${name}" is a sparse file, which archives of images do not have`);
  }

  endEntry(): void {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    closeSync(open.fd);
    const { name, size, hash } = open;
    const digest = `sha256:${hash.digest("hex")}`;
    this.files.push({ name, file: this.#count - 1, size, digest });
  }

  #named(name: string): string {
    this.#names += name.length;
    if (this.#names <= MAX_NAMES) return name;
    throw new RuntimeError(
      "failed-precondition",
      `it has more than ${MAX_NAMES} characters in the names of its files`,
    );
  }
}

function targetOf({ type, path, linkPath }: TarEntry): string | undefined {
  const from = type === "link" || linkPath.startsWith("/") ? "" : `${path}/../`;
  try {
    return layerPath(`${from}${linkPath}`);
  } catch {
    return undefined;
  }
}

/** Writes a blob to the file `/0`, and computes its digest. */
export class BlobFile {
  readonly hash = createHash("sha256");
  readonly #fd = openSync("/0", "wx", 0o600);
  size = 0;

  write(bytes: Buffer): void {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    } catch (cause) {
      throw wrap("keep the archive in a file", cause);
    }
    this.hash.update(bytes);
    this.size += bytes.length;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
