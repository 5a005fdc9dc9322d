import { closeSync, constants, openSync, writeSync } from "node:fs";

import type { CheckpointEntry } from "../base/checkpoint-names.ts";
import { printable, type TarEntry } from "./tar-entry.ts";
import { brokenArchive } from "./tar-header.ts";
import type { TarSink } from "./tar-reader.ts";

/** A file of the archive of a checkpoint. */
export interface CheckpointFile {
  readonly name: string;
  /** Its name on the disk. */
  readonly file: number;
  readonly size: number;
}

/**
 * Keeps the files of the archive of a checkpoint below `/`, which must be a directory of their own (chroot). Their
 * names on the disk are numbers: a name in the archive is only a text. Unlike an archive of images, nothing is ignored
 * because it is unknown: links, devices, names that no checkpoint has and names that occur twice are errors, so that
 * every reader of an archive finds the same checkpoint in it.
 */
export class CheckpointFiles implements TarSink {
  readonly files: CheckpointFile[] = [];
  readonly #names = new Set<string>();
  readonly #entryOf: (path: string) => CheckpointEntry | undefined;
  #open: { readonly fd: number; readonly name: string; size: number } | undefined;
  #current = "";

  /** `entryOf` says what a name in the archive stands for. */
  constructor(entryOf: (path: string) => CheckpointEntry | undefined) {
    this.#entryOf = entryOf;
  }

  entry({ type, path }: TarEntry): void {
    this.#current = path;
    const entry = this.#entryOf(path);
    if (entry === undefined) {
      throw brokenArchive(`"${shown(path)}" is not a file of a checkpoint`);
    }
    const wanted = entry.use === "directory" ? "dir" : "file";
    if (type !== wanted) {
      const what = wanted === "dir" ? "a directory" : "a regular file";
      throw brokenArchive(`"${shown(path)}" is of the type "${type}"; it must be ${what}`);
    }
    if (entry.use === "directory") return;
    const name = path.replace(/^\.\//, "");
    if (this.#names.has(name)) throw brokenArchive(`"${shown(path)}" is in it twice`);
    this.#names.add(name);
    if (entry.use === "ignore") return;
    const { O_CREAT, O_EXCL, O_WRONLY } = constants;
    const fd = openSync(`/${this.files.length}`, O_WRONLY | O_CREAT | O_EXCL, 0o600);
    this.#open = { fd, name, size: 0 };
  }

  data(bytes: Buffer): void {
    const open = this.#open;
    if (open === undefined) return;
    open.size += bytes.length;
    for (let at = 0; at < bytes.length; ) at += writeSync(open.fd, bytes, at);
  }

  hole(): void {
    throw brokenArchive(
      `"${shown(this.#current)}" is a sparse file, which archives of checkpoints do not have`,
    );
  }

  endEntry(): void {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    closeSync(open.fd);
    const { name, size } = open;
    this.files.push({ name, file: this.files.length, size });
  }
}

function shown(name: string): string {
  return printable(name).slice(0, 200);
}
