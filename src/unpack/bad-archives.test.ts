/** Archives that the reader rejects, with the entry in the error. What only the writer sees: overlay's bad-archives. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { TarReader, type TarSink } from "./tar-reader.ts";
import {
  base256,
  type BuiltEntry,
  buildEntry,
  buildTar,
  gnuMagic,
  seal,
} from "./testing/tar-builder.ts";

const nothing: TarSink = {
  entry: () => undefined,
  data: () => undefined,
  hole: () => undefined,
  endEntry: () => undefined,
};

const good: BuiltEntry = { name: "good/one", data: "x" };
const damaged = buildEntry({ name: "damaged" });
damaged.write("x", 20);

/** What is wrong, the entry that follows a good one, and the error. */
const entries: readonly (readonly [string, BuiltEntry, RegExp])[] = [
  ["an empty name", { name: "" }, /an empty or too long name.*\(after entry 1, "good\/one"\)$/],
  [
    "a path of 4,096 bytes",
    { name: "x", pax: { path: "e/".repeat(2048) } },
    /entry "(e\/)+" has an empty or too long/,
  ],
  [
    "a device beyond the kernel's",
    { name: "n", type: "3", major: 4096 },
    /entry "n" is the invalid device 4096:0/,
  ],
  ["an owner of -1", { name: "o", pax: { uid: "-1" } }, /entry "o" has the invalid owner -1/],
  [
    "an owner of 2^32",
    { name: "o", pax: { gid: "4294967296" } },
    /entry "o" has the invalid owner 4294967296/,
  ],
  ["an unknown type", { name: "t", type: "7" }, /entry "t" has the unknown type "7"/],
  [
    "a negative size",
    { name: "s", magic: gnuMagic, raw: { 124: base256(-5n, 12) } },
    /negative size \(after entry 1, "good\/one"\)/,
  ],
  [
    "a size that is not a number",
    { name: "s", raw: { 124: "9zz" } },
    /invalid size.*\(after entry 1, "good\/one"\)/,
  ],
  [
    "a time beyond all numbers",
    { name: "s", pax: { mtime: "1e400" } },
    /invalid time in mtime \(after entry 1/,
  ],
  [
    "records that are not records",
    { name: "pax", type: "x", data: "17 path" },
    /not made of records \(after entry 1/,
  ],
  [
    "a NUL in a record",
    { name: "s", pax: { path: "a\0b" } },
    /NUL in a key or text \(after entry 1/,
  ],
  [
    "a sparse file with a broken map",
    {
      name: "s",
      data: "x".repeat(512),
      pax: { "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" },
    },
    /\(entry 2, "s"\)$/,
  ],
];

const archives: readonly (readonly [string, Buffer, RegExp])[] = [
  [
    "a wrong checksum",
    Buffer.concat([buildEntry(good), damaged]),
    /wrong checksum.*\(after entry 1, "good\/one"\)$/,
  ],
  [
    "a cut file",
    buildTar([good, { name: "big\n", data: "x".repeat(2000) }]).subarray(0, 2100),
    /ends in the middle of an entry \(entry 2, "big\\n"\)$/,
  ],
  [
    "a lone block of zeros",
    Buffer.concat([buildEntry(good), Buffer.alloc(512), buildEntry(good)]),
    /follows a block of zeros \(after entry 1/,
  ],
  ["other content", Buffer.alloc(1024, "text "), /is it a tar archive\? \(in the first entry\)$/],
  ["a header of equal bytes", seal(Buffer.alloc(512, 0xa5)), /\(in the first entry\)$/],
];

function assertRejected(tar: Buffer, message: RegExp): void {
  assert.throws(
    () => {
      const reader = new TarReader(nothing);
      reader.write(tar);
      reader.end();
    },
    { kind: "invalid-argument", message },
  );
}

describe("an archive with", () => {
  for (const [what, bad, message] of entries) {
    test(`${what} is rejected`, () => assertRejected(buildTar([good, bad]), message));
  }
  for (const [what, tar, message] of archives) {
    test(`${what} is rejected`, () => assertRejected(tar, message));
  }
});
