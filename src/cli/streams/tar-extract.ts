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
 * Writes what a tar archive from somewhere else holds to this machine: `prefix` in it becomes
 * `target`, and nothing is written outside of that. Only files and directories are made: links and
 * devices are told by `onSkipped`, and a link that is there already is not followed.
 * `invalid-argument` for an archive that tries.
 */
export class TarExtractor implements TarSink {
  /** How many files and directories were made. */
  made = 0;
  readonly #reader = new TarReader(this);
  readonly #target: string;
  readonly #prefix: readonly string[];
  readonly #onSkipped: (path: string) => void;
  #file: { readonly fd: number; readonly entry: TarEntry } | undefined;
  /** Where the next bytes of the file go. */
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

  /** The archive is over; throws for one that is cut. */
  end(): void {
    this.#reader.end();
  }

  /** Closes what is open. */
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
    this.made += 1;
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
    ftruncateSync(fd, this.#position); // it may end with a hole
    // Neither setuid nor setgid: the file is another owner's here.
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
      `copy "${path}": the archive names something outside of "${this.#prefix.join("/")}"; nothing of it was written`,
    );
  }

  #makeDirectories(below: readonly string[]): void {
    for (let depth = 0; depth <= below.length; depth++) {
      this.#makeDirectory(join(this.#target, ...below.slice(0, depth)));
    }
  }

  #makeDirectory(path: string): void {
    const there = look(path);
    if (there?.isDirectory() === true) return;
    if (there !== undefined) {
      throw new RuntimeError(
        "invalid-argument",
        `copy to "${path}": something else than a directory is there; move it away`,
      );
    }
    mkdirSync(path);
  }
}

/** Never through a link, nor into a fifo or device that is there. */
function openFile(path: string): number {
  const there = look(path);
  if (there !== undefined && !there.isFile()) {
    throw new RuntimeError(
      "invalid-argument",
      `copy to "${path}": something else than a file is there; move it away`,
    );
  }
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
}

function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function parts(path: string): readonly string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

/** Names in archives are bytes, which the reader gives one a character. */
function textOf(path: string): string {
  return Buffer.from(path, "latin1").toString("utf8");
}
