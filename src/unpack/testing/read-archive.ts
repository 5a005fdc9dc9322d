import assert from "node:assert/strict";
import { createHash, type Hash } from "node:crypto";

import type { TarEntry } from "../tar-entry.ts";
import { type TarLimits, TarReader, type TarSink } from "../tar-reader.ts";

/** An entry, with the digest of all its bytes, holes included. */
export interface Found extends TarEntry {
  readonly content: string;
  /** Bytes that are not in the archive. */
  readonly holes: number;
}

/** Collects what a reader finds, and asserts the order of its calls. */
class Collector implements TarSink {
  readonly found: Found[] = [];
  #entry: TarEntry | undefined;
  #hash: Hash = createHash("sha256");
  #size = 0;
  #holes = 0;

  entry(entry: TarEntry): void {
    assert.equal(this.#entry, undefined, "an entry began inside another");
    this.#entry = entry;
    this.#hash = createHash("sha256");
    [this.#size, this.#holes] = [0, 0];
  }

  data(bytes: Buffer): void {
    assert.ok(bytes.length > 0);
    this.#size += bytes.length;
    this.#hash.update(bytes);
  }

  hole(bytes: number): void {
    assert.ok(bytes > 0 && bytes < 2 ** 24, `a hole of ${bytes} bytes`);
    this.#size += bytes;
    this.#holes += bytes;
    this.#hash.update(Buffer.alloc(bytes));
  }

  endEntry(): void {
    assert.ok(this.#entry);
    assert.equal(this.#size, this.#entry.size);
    const content = this.#hash.digest("hex");
    this.found.push({ ...this.#entry, content, holes: this.#holes });
    this.#entry = undefined;
  }
}

/** Reads the chunks of an archive and returns its entries. Throws the errors of the reader. */
export function readArchive(pieces: readonly Buffer[], limits?: TarLimits): readonly Found[] {
  const collector = new Collector();
  readInto(collector, pieces, limits);
  return collector.found;
}

/** Like readArchive(), but returns the entries before a failure together with it. */
export function readUntilFailure(bytes: Buffer): {
  readonly found: readonly Found[];
  readonly error: unknown;
} {
  const collector = new Collector();
  try {
    readInto(collector, [bytes]);
    return { found: collector.found, error: undefined };
  } catch (error) {
    return { found: collector.found, error };
  }
}

function readInto(sink: TarSink, pieces: readonly Buffer[], limits?: TarLimits): void {
  const reader = new TarReader(sink, limits);
  for (const piece of pieces) {
    const copy = Buffer.from(piece);
    reader.write(copy);
    copy.fill(0xff); // the reader must not use it again
  }
  reader.end();
}
