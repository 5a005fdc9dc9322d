import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  type Stats,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";

import { errnoCode } from "../base/system-error.ts";
import {
  beginWriteOut,
  changeDirectory,
  type FileAttributes,
  makeFile,
  makeNode,
  setAttributes,
  setXattr,
} from "../linux/file/index.ts";
import { type LayerFiles, type LayerWalk, refuseRoot } from "./layer-files.ts";

/**
 * So much of a file is handed to the disk at once. The layer's sync has to wait for less then, which is what a pull waits for
 * at its end. Small files stay together: they are written in fewer pieces at the sync.
 */
const WRITE_OUT = 4 * 1024 * 1024;

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

/**
 * The files of a layer below `/`, which must be the layer's own directory (chroot). Walks and removals move the
 * working directory: only this process changes the layer, so a name that was a directory still is one.
 */
export class DiskFiles implements LayerFiles {
  #file: number | undefined;
  /** The position of the next bytes in the file, and the end of what was written. */
  #position = 0;
  #written = 0;
  /** The end of what the kernel was told to write to the disk. */
  #begun = 0;

  walk(): LayerWalk {
    walkOnDisk.top();
    return walkOnDisk;
  }

  find(path: string): Stats | undefined {
    try {
      return lstatSync(onDisk(path), { throwIfNoEntry: false });
    } catch (cause) {
      const code = errnoCode(cause);
      if (code === "ENOTDIR" || code === "ELOOP") return undefined;
      throw cause;
    }
  }

  readLink(path: string): string {
    return readlinkSync(onDisk(path), "latin1");
  }

  makeDirectory(path: string): void {
    mkdirSync(onDisk(path), 0o755);
  }

  makeSymlink(path: string, target: string): void {
    symlinkSync(onDisk(target), onDisk(path));
  }

  makeLink(path: string, target: string): void {
    linkSync(onDisk(target), onDisk(path));
  }

  makeNode(path: string, mode: number, device?: { major: number; minor: number }): void {
    makeNode(path, mode, device);
  }

  makeFile(
    path: string,
    bytes: Buffer,
    attributes: FileAttributes & { readonly mode: number },
  ): void {
    makeFile(path, bytes, attributes);
  }

  openFile(path: string): void {
    this.#file = openSync(onDisk(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    this.#position = 0;
    this.#written = 0;
    this.#begun = 0;
  }

  write(bytes: Buffer): void {
    if (this.#file === undefined) return;
    for (let at = 0; at < bytes.length; ) {
      const count = writeSync(this.#file, bytes, at, undefined, this.#position);
      at += count;
      this.#position += count;
    }
    this.#written = this.#position;
    if (this.#written - this.#begun < WRITE_OUT) return;
    beginWriteOut(this.#file, this.#begun, this.#written - this.#begun);
    this.#begun = this.#written;
  }

  hole(bytes: number): void {
    this.#position += bytes;
  }

  closeFile(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    try {
      if (this.#position > this.#written) ftruncateSync(file, this.#position);
    } finally {
      closeSync(file);
    }
  }

  setAttributes(path: string, attributes: FileAttributes): void {
    setAttributes(path, attributes);
  }

  setXattr(path: string, name: string, value: string): void {
    setXattr(path, name, value);
  }

  remove(path: string): void {
    refuseRoot(path);
    if (this.find(path)?.isDirectory() !== true) {
      unlinkSync(onDisk(path));
      return;
    }
    changeDirectory(path);
    emptyDirectory();
    changeDirectory("/");
    rmdirSync(onDisk(path));
  }

  finish(): void {
    // Everything is on the disk.
  }
}

/** The walk of the working directory. */
const walkOnDisk: LayerWalk = {
  find: (name) => lstatSync(onDisk(name), { throwIfNoEntry: false }),
  readLink: (name) => readlinkSync(onDisk(name), "latin1"),
  makeDirectory: (name) => mkdirSync(onDisk(name), 0o755),
  enter: changeDirectory,
  up: () => changeDirectory(".."),
  top: () => changeDirectory("/"),
};

/** Removes everything in the working directory, which may be deeper than a path is long. */
function emptyDirectory(): void {
  /** The directories on the way down, each with the names that are left in it. */
  const open: { readonly name: string; readonly names: string[] }[] = [];
  let names = readdirSync(".", { encoding: "latin1" });
  for (;;) {
    const name = names.pop();
    if (name === undefined) {
      const done = open.pop();
      if (done === undefined) return;
      changeDirectory("..");
      rmdirSync(onDisk(done.name));
      names = done.names;
    } else if (lstatSync(onDisk(name)).isDirectory()) {
      open.push({ name, names });
      changeDirectory(name);
      names = readdirSync(".", { encoding: "latin1" });
    } else {
      unlinkSync(onDisk(name));
    }
  }
}

/** A byte string for node:fs; ASCII names stay strings, which is faster. */
export function onDisk(path: string): string | Buffer {
  return /^[\x01-\x7f]*$/.test(path) ? path : Buffer.from(path, "latin1");
}
