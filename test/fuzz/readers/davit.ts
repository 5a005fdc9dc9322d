/** Reads an archive with davit's reader, in the form of the others. */
import assert from "node:assert/strict";
import { createHash, type Hash } from "node:crypto";

import { expectKind } from "../target.ts";
import type { EntryType, TarEntry } from "../../../src/unpack/tar-entry.ts";
import { type TarLimits, TarReader, type TarSink } from "../../../src/unpack/tar-reader.ts";
import { maxContent, type ReadArchive, type ReadEntry } from "./reader.ts";

const types: Readonly<Record<EntryType, string>> = {
  file: "0",
  link: "1",
  symlink: "2",
  char: "3",
  block: "4",
  dir: "5",
  fifo: "6",
};
const zeros = Buffer.alloc(64 * 1024);

/** Collects entries, and checks the order and the sizes of what it gets. */
class Collector implements TarSink {
  readonly entries: ReadEntry[] = [];
  #entry: TarEntry | undefined;
  #hash: Hash | undefined;
  #size = 0;
  /** Calls, and bytes of data: work that must be in proportion to the archive. */
  calls = 0;
  dataBytes = 0;

  entry(entry: TarEntry): void {
    assert.equal(this.#entry, undefined, "an entry began inside another");
    this.#entry = entry;
    this.#hash = entry.size <= maxContent ? createHash("sha256") : undefined;
    this.#size = 0;
    this.calls++;
  }

  data(bytes: Buffer): void {
    assert.ok(bytes.length > 0);
    this.calls++;
    this.dataBytes += bytes.length;
    this.#size += bytes.length;
    this.#hash?.update(bytes);
  }

  hole(bytes: number): void {
    assert.ok(bytes > 0);
    this.calls++;
    this.#size += bytes;
    if (this.#hash === undefined) return;
    for (let left = bytes; left > 0; left -= zeros.length) {
      this.#hash.update(zeros.subarray(0, Math.min(left, zeros.length)));
    }
  }

  endEntry(): void {
    const entry = this.#entry;
    assert.ok(entry);
    this.#entry = undefined;
    this.calls++;
    const { type, path, linkPath, mode, uid, gid, size, time, major, minor, xattrs } = entry;
    assert.equal(this.#size, size, `"${path}" has another size than its data`);
    this.entries.push({
      type: types[type],
      path,
      linkPath,
      mode,
      uid,
      gid,
      size,
      content: type === "file" ? (this.#hash?.digest("hex").slice(0, 16) ?? "") : "",
      seconds: time.seconds,
      nanoseconds: time.nanoseconds,
      device: type === "char" || type === "block" ? `${major}:${minor}` : "",
      xattrs: [...xattrs].map(([name, value]) => `${name}=${value}`).sort(),
    });
  }
}

/** What davit finds. Throws when it fails with another error than it may. */
export function readByDavit(chunks: readonly Buffer[], limits?: TarLimits): ReadArchive {
  const collector = new Collector();
  const reader = new TarReader(collector, limits);
  let [error, bytes] = ["", 0];
  try {
    for (const chunk of chunks) {
      bytes += chunk.length;
      const copy = Buffer.from(chunk);
      reader.write(copy);
      copy.fill(0xff); // it must not be used again
    }
    reader.end();
  } catch (cause) {
    expectKind(cause, ["invalid-argument", "resource-exhausted"]);
    error = cause instanceof Error ? cause.message : String(cause);
  }
  assert.ok(collector.dataBytes <= bytes, "there is more data than the archive has");
  // A fragment of a sparse file has at least 4 bytes in its map.
  assert.ok(
    collector.calls <= 4 + chunks.length + bytes,
    `${collector.calls} calls for ${bytes} bytes`,
  );
  return { entries: collector.entries, error };
}
