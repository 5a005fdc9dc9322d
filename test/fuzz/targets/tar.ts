/**
 * Archives of any bytes. davit reads them like Go's archive/tar, in chunks of any size, or rejects them; what Go
 * rejects, davit rejects. Without Go, and in npm test, only the chunks are compared.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import fc from "fast-check";

import { oddArchives } from "../../../src/unpack/testing/odd-archives.ts";
import { Random } from "../../../src/unpack/testing/random.ts";
import { buildTar } from "../../../src/unpack/testing/tar-builder.ts";
import { randomArchive } from "../../../src/unpack/testing/random-archive.ts";
import { readByDavit } from "../readers/davit.ts";
import { ArchiveReader, type ReadArchive } from "../readers/reader.ts";
import { type FuzzTarget, isLongRun, pieces } from "../target.ts";

/** Why davit rejects an archive that Go accepts: what would not work on a disk, or hides what scanners see. */
const stricter = [
  /has the unknown type/,
  /has the invalid owner|[ug]id that is too large/,
  /is the invalid device/,
  /has an empty or too long name or target/,
  // Go has numbers of 64 bits, JavaScript of 53.
  /that is too large|invalid (number|time) in/,
  /a header has \d+ bytes; the limit is|the map of a sparse file is larger than/,
  /is sparse, but not a file/,
];

let byGo: ArchiveReader | undefined;
let directory: string | undefined;
let isOpen = false;

/** Go's reader, built once; `undefined` where Go is not installed. */
function openGo(): ArchiveReader | undefined {
  // The first build of its library takes longer than all of npm test may.
  if (isOpen || !isLongRun) return byGo;
  isOpen = true;
  directory = mkdtempSync(path.join(tmpdir(), "davit-fuzz-go-"));
  const program = path.join(directory, "tar");
  const source = path.resolve(import.meta.dirname, "../readers/tar.go");
  const { status } = spawnSync("go", ["build", "-o", program, source], {
    env: { ...process.env, GOFLAGS: "-mod=mod", GO111MODULE: "off" },
  });
  if (status === 0) byGo = new ArchiveReader(program, []);
  return byGo;
}

function compare(ours: ReadArchive, theirs: ReadArchive): void {
  const count = ours.entries.length;
  assert.deepEqual(ours.entries, theirs.entries.slice(0, count));
  if (ours.error === "") {
    assert.equal(theirs.error, "", "Go rejects what davit accepts");
    assert.equal(count, theirs.entries.length);
  } else if (theirs.error === "") {
    assert.ok(
      stricter.some((pattern) => pattern.test(ours.error)),
      `Go accepts it: ${ours.error}`,
    );
  }
}

export const target: FuzzTarget = {
  name: "tar",
  seeds: () => [
    ...[...oddArchives.values()].filter(({ length }) => length <= 8 * 1024),
    // Each block of such a map must not cost as much as all blocks before it.
    sparseMap(`${"0".repeat(500_000)}999999\n${"1\n".repeat(250_000)}`),
    sparseMap("0".repeat(1_000_000)),
  ],
  words: [
    "path=",
    "linkpath=",
    "size=",
    "GNU.sparse.map=",
    "GNU.sparse.major=1",
    "GNU.sparse.minor=0",
    "GNU.sparse.numblocks=",
    "SCHILY.xattr.user.a=",
    "mtime=1.5",
    "ustar\x0000",
    "ustar  \0",
    "\x80\0\0\0\0\0\0\x01",
    "././@LongLink",
    "\0".repeat(512),
  ],
  structured: fc.nat().map((seed) => randomArchive(new Random(seed))),
  maxBytes: 64 * 1024,
  maxLongBytes: 1024 * 1024,
  limitMs: (bytes) => 200 + bytes / 4096,
  check: async (input) => {
    const archive = withSums(input);
    const ours = readByDavit([archive]);
    assert.deepEqual(readByDavit(pieces(archive)), ours);
    const theirs = await openGo()?.read(archive);
    if (theirs !== undefined) compare(ours, theirs);
  },
  close: () => {
    byGo?.close();
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
    [byGo, directory, isOpen] = [undefined, undefined, false];
  },
};

/** A sparse file with this map before its data. */
function sparseMap(map: string): Buffer {
  const [major, minor, size] = ["GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.size"];
  return buildTar([{ name: "f", data: map, pax: { [major]: "1", [minor]: "0", [size]: "3" } }]);
}

/** Corrects the checksum of each block that looks like a header, because mutations would seldom get past it. */
function withSums(input: Buffer): Buffer {
  const archive = Buffer.from(input);
  for (let at = 0; at + 512 <= archive.length; at += 512) {
    const block = archive.subarray(at, at + 512);
    if (!/^[0-7 ]{6}[\0 ]{2}$/.test(block.toString("latin1", 148, 156))) continue;
    block.fill(0x20, 148, 156);
    let sum = 0;
    for (const byte of block) sum += byte;
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  }
  return archive;
}
