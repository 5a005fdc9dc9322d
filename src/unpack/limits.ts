import { statfsSync } from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import { describeFullDisk, DiskHeadroom, type DiskSpace } from "../linux/host/index.ts";
import { errnoCode } from "../base/system-error.ts";
import type { TarEntry } from "./tar-entry.ts";
import type { TarSink } from "./tar-reader.ts";

/** A limit of a layer. `why` ends the sentence "it has more than" with the number and the setting. */
interface Limit {
  readonly most: number;
  readonly why: string;
}

/** The limits of a layer, which the daemon sends with the job. */
export interface UnpackLimits {
  /** Bytes of the decompressed archive, including headers, padding and holes of files. */
  readonly bytes?: Limit;
  readonly entries?: Limit;
  /** The name of the file system of the layers in messages; the unpacker itself sees it as "/". */
  readonly disk: string;
  /** The path of the file that the blob is, for a part of an artifact. Without it, the blob is an archive. */
  readonly file?: string;
  /** How the layer is stored: as files in its directory, unless as one file with an EROFS image. */
  readonly format?: "directory" | "erofs";
  /** The most memory for the names of a layer in an image, if not the default. Bytes. */
  readonly names?: number;
}

/** Checks {@link UnpackLimits} that the daemon sent. */
export function parseLimits(value: unknown): UnpackLimits {
  const text = JSON.stringify(value);
  if (typeof value !== "object" || value === null) throw wrongLimits(text);
  const { bytes, entries, disk, file, format, names } = value as Readonly<Record<string, unknown>>;
  if (typeof disk !== "string") throw wrongLimits(text);
  if (file !== undefined && typeof file !== "string") throw wrongLimits(text);
  return {
    disk,
    ...(file === undefined ? {} : { file }),
    ...(format === "erofs" ? { format } : {}),
    ...(typeof names === "number" ? { names } : {}),
    ...(bytes === undefined ? {} : { bytes: parseLimit(bytes, text) }),
    ...(entries === undefined ? {} : { entries: parseLimit(entries, text) }),
  };
}

function parseLimit(value: unknown, text: string): Limit {
  if (typeof value === "object" && value !== null && "most" in value && "why" in value) {
    const { most, why } = value;
    if (typeof most === "number" && typeof why === "string") return { most, why };
  }
  throw wrongLimits(text);
}

function wrongLimits(text: string): RuntimeError {
  return new RuntimeError("internal", `unpack layer: its job must have limits; it has ${text}`);
}

/**
 * Checks entries before the sink that makes the files: rejects a layer that exceeds its limits
 * (`failed-precondition`), or that would use the part of the disk that must stay free
 * (`resource-exhausted`), before it is written.
 */
export class LimitedSink implements TarSink {
  readonly #sink: TarSink;
  readonly #limits: UnpackLimits;
  readonly #space: () => DiskSpace;
  readonly #room: DiskHeadroom;
  #bytes = 0;
  #entries = 0;

  constructor(sink: TarSink, limits: UnpackLimits, space = (): DiskSpace => statfsSync("/")) {
    this.#sink = sink;
    this.#limits = limits;
    this.#space = space;
    this.#room = new DiskHeadroom(limits.disk);
  }

  /** Counts the next bytes of the archive, before the reader gets them. */
  archive(bytes: number): void {
    this.#count(bytes);
    this.#take(bytes, 0);
  }

  entry(entry: TarEntry): void {
    this.#entries++;
    const limit = this.#limits.entries;
    if (limit !== undefined && this.#entries > limit.most) throw tooMuch(limit);
    // Missing parent directories are made, too, also behind a symbolic link. Each needs an inode
    // and a block of at most 4 KiB.
    const files = 1 + countSlashes(entry.path) + countSlashes(entry.linkPath);
    this.#take(files * 4096, files);
    this.#sink.entry(entry);
  }

  data(bytes: Buffer): void {
    this.#sink.data(bytes);
  }

  /** Holes need no space, but a program that copies the file may fill them, so they count as bytes of the layer. */
  hole(bytes: number): void {
    this.#count(bytes);
    this.#sink.hole(bytes);
  }

  endEntry(): void {
    this.#sink.endEntry();
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    const limit = this.#limits.bytes;
    if (limit !== undefined && this.#bytes > limit.most) throw tooMuch(limit);
  }

  #take(bytes: number, files: number): void {
    if (!this.#room.spend(bytes, files)) this.#room.update(this.#space(), bytes, files);
  }
}

/** The error itself, or one with advice when the kernel reports a full disk. */
export function explainFullDisk(error: unknown, disk: string): unknown {
  const code = errnoCode(error);
  if (!(error instanceof Error) || (code !== "ENOSPC" && code !== "EDQUOT")) return error;
  const text = `${error.message}: ${describeFullDisk(disk, statfsSync("/"))}`;
  return new RuntimeError("resource-exhausted", text, { cause: error });
}

function tooMuch({ why }: Limit): RuntimeError {
  return new RuntimeError("failed-precondition", `it has more than ${why}`);
}

function countSlashes(path: string): number {
  let count = 0;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) count++;
  return count;
}
