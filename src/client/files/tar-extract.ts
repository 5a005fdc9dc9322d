import {
  closeSync,
  constants,
  fchmodSync,
  ftruncateSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  type Stats,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { TarEntry } from "../../unpack/tar-entry.ts";
import { TarReader, type TarSink } from "../../unpack/tar-reader.ts";

/**
 * Extracts an untrusted tar archive: `prefix` in it becomes `target`, and nothing is written outside of that.
 * Only files and directories are created. Links and devices are reported to `onSkipped`, and existing links
 * are not followed. Throws `invalid-argument` for an archive with other paths.
 */
export class TarExtractor implements TarSink {
  /** The number of files and directories that were created. */
  created = 0;
  readonly #reader = new TarReader(this);
  readonly #target: string;
  readonly #prefix: readonly string[];
  readonly #onSkipped: (path: string) => void;
  #file: { readonly fd: number; readonly entry: TarEntry } | undefined;
  /** The position of the next bytes in the file. */
  #position = 0;

  constructor(options: {
    readonly prefix: string;
    readonly target: string;
    readonly onSkipped: (path: string) => void;
  }) {
    this.#prefix = parts(options.prefix);
    this.#target = options.target;
    this.#onSkipped = options.onSkipped;
  }

  write(bytes: Buffer): void {
    this.#reader.write(bytes);
  }

  /** Ends the archive; throws if it is truncated. */
  end(): void {
    this.#reader.end();
  }

  /** Closes the open file. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  entry(entry: TarEntry): void {
    const shown = textOf(entry.path);
    const below = this.#below(shown);
    if (entry.type !== "file" && entry.type !== "dir") {
      this.#onSkipped(shown);
      return;
    }
    if (below.length > 0) this.#makeDirectories(below.slice(0, -1));
    const path = join(this.#target, ...below);
    if (entry.type === "dir") this.#makeDirectory(path);
    else this.#file = { fd: openFile(path), entry };
    this.#position = 0;
    this.created += 1;
  }

  data(bytes: Buffer): void {
    for (let at = 0; this.#file !== undefined && at < bytes.length; ) {
      const count = writeSync(this.#file.fd, bytes, at, undefined, this.#position);
      at += count;
      this.#position += count;
    }
  }

  hole(bytes: number): void {
    this.#position += bytes;
  }

  endEntry(): void {
    if (this.#file === undefined) return;
    const { fd, entry } = this.#file;
    ftruncateSync(fd, this.#position); // the file may end with a hole
    // Without setuid and setgid, since the owner is another one here.
    fchmodSync(fd, entry.mode & 0o777);
    futimesSync(fd, entry.time.seconds, entry.time.seconds);
    this.close();
  }

  /** The parts of a path below the prefix. */
  #below(path: string): readonly string[] {
    const all = parts(path);
    const inside = this.#prefix.every((part, at) => all[at] === part);
    if (inside && !all.includes("..")) return all.slice(this.#prefix.length);
    throw new RuntimeError(
      "invalid-argument",
      `copy "${path}": the path is outside of "${this.#prefix.join("/")}"; it was not written`,
    );
  }

  #makeDirectories(below: readonly string[]): void {
    for (let depth = 0; depth <= below.length; depth++) {
      this.#makeDirectory(join(this.#target, ...below.slice(0, depth)));
    }
  }

  #makeDirectory(path: string): void {
    const existing = statOf(path);
    if (existing?.isDirectory() === true) return;
    if (existing !== undefined) {
      throw new RuntimeError(
        "invalid-argument",
        `copy to "${path}": the path exists but is not a directory; move it away`,
      );
    }
    mkdirSync(path);
  }
}

/** Opens a file for writing; never a link, FIFO or device. */
function openFile(path: string): number {
  const existing = statOf(path);
  if (existing !== undefined && !existing.isFile()) {
    throw new RuntimeError(
      "invalid-argument",
      `copy to "${path}": the path exists but is not a file; move it away`,
    );
  }
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function parts(path: string): readonly string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

/** Names in archives are bytes; the reader returns them as latin1. */
function textOf(path: string): string {
  return Buffer.from(path, "latin1").toString("utf8");
}
