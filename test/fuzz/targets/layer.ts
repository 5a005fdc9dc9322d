/**
 * Whole layers in EROFS images: the archive of any bytes becomes an image that a strict reader accepts, with the files,
 * links and attributes that the unpacker believes to have written.
 */
import assert from "node:assert/strict";
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import fc from "fast-check";

import { ErofsFiles } from "../../../src/unpack/erofs/erofs-files.ts";
import type { LayerEntry, LayerFiles, LayerWalk } from "../../../src/unpack/layer-files.ts";
import { LayerWriter } from "../../../src/unpack/layer-writer.ts";
import { LimitedSink } from "../../../src/unpack/limits.ts";
import { TarReader } from "../../../src/unpack/tar-reader.ts";
import { type BuiltEntry, buildTar } from "../../../src/unpack/testing/tar-builder.ts";
import { maxErofsContent, readErofs } from "../readers/erofs.ts";
import { attempt, type FuzzTarget, pieces } from "../target.ts";

const kinds = ["invalid-argument", "resource-exhausted", "failed-precondition"] as const;
const zeros = Buffer.alloc(64 * 1024);

/** Passes everything on to an image, and keeps the content of files by their numbers. */
class RecordingFiles implements LayerFiles {
  readonly inner: ErofsFiles;
  readonly contents = new Map<number, Buffer>();
  #parts: Buffer[] = [];
  #size = 0;
  #ino: number | undefined;

  constructor(inner: ErofsFiles) {
    this.inner = inner;
  }

  walk(): LayerWalk {
    return this.inner.walk();
  }
  find(at: string): LayerEntry | undefined {
    return this.inner.find(at);
  }
  readLink(at: string): string {
    return this.inner.readLink(at);
  }
  makeDirectory(at: string): void {
    this.inner.makeDirectory(at);
  }
  makeSymlink(at: string, to: string): void {
    this.inner.makeSymlink(at, to);
  }
  makeLink(at: string, to: string): void {
    this.inner.makeLink(at, to);
  }
  makeNode(...args: Parameters<LayerFiles["makeNode"]>): void {
    this.inner.makeNode(...args);
  }
  makeFile(...args: Parameters<LayerFiles["makeFile"]>): void {
    this.inner.makeFile(...args);
    const [at, bytes] = args;
    const ino = this.inner.find(at)?.ino;
    if (ino !== undefined && bytes.length <= maxErofsContent) {
      this.contents.set(ino, Buffer.from(bytes));
    }
  }
  openFile(at: string): void {
    this.inner.openFile(at);
    this.#ino = this.inner.find(at)?.ino;
    [this.#parts, this.#size] = [[], 0];
  }
  write(bytes: Buffer): void {
    this.inner.write(bytes);
    this.#size += bytes.length;
    if (this.#size <= maxErofsContent) this.#parts.push(Buffer.from(bytes));
  }
  hole(bytes: number): void {
    this.inner.hole(bytes);
    this.#size += bytes;
    if (this.#size > maxErofsContent) return;
    for (let left = bytes; left > 0; left -= zeros.length) {
      this.#parts.push(zeros.subarray(0, Math.min(left, zeros.length)));
    }
  }
  closeFile(): void {
    this.inner.closeFile();
    if (this.#ino === undefined) return;
    if (this.#size <= maxErofsContent) this.contents.set(this.#ino, Buffer.concat(this.#parts));
    this.#ino = undefined;
  }
  setAttributes(...args: Parameters<LayerFiles["setAttributes"]>): void {
    this.inner.setAttributes(...args);
  }
  setXattr(at: string, name: string, value: string): void {
    this.inner.setXattr(at, name, value);
  }
  remove(at: string): void {
    this.inner.remove(at);
  }
  finish(): void {
    this.inner.finish();
  }
}

let directory: string | undefined;

function compare(files: RecordingFiles, image: Buffer): void {
  const numbers = new Map<number, number>();
  for (const [at, inode] of readErofs(image)) {
    const known = files.inner.find(at);
    assert.ok(known, `"${at}" is in the image only`);
    assert.equal(inode.mode, known.mode, `the mode of "${at}"`);
    assert.equal(inode.rdev, known.rdev, `the device "${at}"`);
    // Two names of one file are two names of one inode.
    const number = numbers.get(known.ino) ?? inode.number;
    assert.equal(inode.number, number, `the inode of "${at}"`);
    numbers.set(known.ino, number);
    if (known.isSymbolicLink()) {
      assert.equal(inode.content?.toString("latin1"), files.inner.readLink(at));
    }
    const content = files.contents.get(known.ino);
    if (content !== undefined && inode.content !== undefined) {
      assert.ok(content.equals(inode.content), `the content of "${at}"`);
    }
    // The kernel would use them, so that none comes from an archive.
    for (const name of inode.xattrs.keys()) {
      const isOpaque = name === "trusted.overlay.opaque" && known.isDirectory();
      assert.ok(!name.startsWith("trusted.") || isOpaque, name);
    }
    for (const part of at.split("/")) assert.ok(!part.startsWith(".wh."), at);
  }
}

const names = fc.constantFrom(
  "a",
  "d",
  "d/",
  "d/f",
  "l",
  "l/x",
  "../e",
  "d/../d/g",
  "/abs",
  "d/.wh.f",
  "d/.wh..wh..opq",
  ".wh.a",
  "./",
  "é/\xff",
  "d/e/f/g",
  "n".repeat(256),
  "d/".repeat(50),
);
const entry: fc.Arbitrary<BuiltEntry> = fc
  .record({
    name: names,
    type: fc.constantFrom("0", "0", "1", "2", "3", "4", "5", "5", "6"),
    linkName: fc.constantFrom(
      "a",
      "d",
      "d/f",
      "l",
      "/",
      "..",
      "/d",
      "missing",
      "l/x",
      "d/".repeat(30),
    ),
    mode: fc.constantFrom(0o644, 0o7777, 0),
    uid: fc.constantFrom(0, 1000, 0o7777777),
    major: fc.constantFrom(0, 1, 4095),
    minor: fc.constantFrom(0, 3, 1_048_575),
    size: fc.constantFrom(0, 1, 3, 4000, 4096, 5000, 70_000),
    xattr: fc.constantFrom(
      "",
      "user.a",
      "user.",
      "trusted.overlay.opaque",
      "security.x",
      "odd.x",
      "security.capability",
      "system.posix_acl_access",
    ),
    value: fc.constantFrom("", "v", "v".repeat(300), "v".repeat(5000)),
  })
  .map(({ size, xattr, value, ...more }) => ({
    ...more,
    data: more.type === "0" ? Buffer.alloc(size, "x") : "",
    ...(xattr === "" ? {} : { pax: { [`SCHILY.xattr.${xattr}`]: value } }),
  }));

const seeds = (): readonly Buffer[] => [
  buildTar([
    { name: "d/", type: "5" },
    { name: "d/f", data: "content" },
    { name: "d/h", type: "1", linkName: "d/f" },
    { name: "l", type: "2", linkName: "/d" },
    { name: "l/x", data: "x".repeat(5000), pax: { "SCHILY.xattr.user.a": "b" } },
    { name: "c", type: "3", major: 1, minor: 3 },
    { name: "d/.wh.gone", data: "" },
    { name: "p", type: "6" },
  ]),
  buildTar([
    { name: "f", data: "one" },
    { name: "f", type: "5" },
    { name: "f/g", data: "two" },
    { name: "f", type: "2", linkName: "loop" },
    { name: "loop", type: "2", linkName: "f" },
    { name: "f/.wh..wh..opq" },
  ]),
  buildTar([
    {
      name: "s",
      data: "abc",
      pax: {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "8192,3",
        "GNU.sparse.numblocks": "1",
        "GNU.sparse.size": "200000",
      },
    },
  ]),
];

export const target: FuzzTarget = {
  name: "layer",
  seeds,
  words: [
    ".wh.",
    ".wh..wh..opq",
    "../",
    "SCHILY.xattr.security.capability=",
    "SCHILY.xattr.trusted.overlay.redirect=",
    "GNU.sparse.map=",
  ],
  structured: fc.array(entry, { minLength: 1, maxLength: 12 }).map((entries) => buildTar(entries)),
  maxBytes: 128 * 1024,
  maxLongBytes: 1024 * 1024,
  limitMs: (bytes) => 400 + bytes / 1024,
  check: (input) => {
    directory ??= mkdtempSync(path.join(tmpdir(), "davit-fuzz-layer-"));
    const file = path.join(directory, "image");
    const fd = openSync(file, "w+");
    try {
      const files = new RecordingFiles(new ErofsFiles(fd, { seconds: 1, nanoseconds: 0 }));
      const writer = new LayerWriter(files);
      const why = "the limit of the test";
      const limits = { disk: "/", bytes: { most: 2 ** 40, why }, entries: { most: 10_000, why } };
      const sink = new LimitedSink(writer, limits);
      const reader = new TarReader(sink);
      const done = attempt(kinds, () => {
        for (const piece of pieces(input)) {
          sink.archive(piece.length);
          reader.write(piece);
        }
        reader.end();
        const below = writer.finish();
        return below ?? true;
      });
      if (done === undefined) return;
      if (fstatSync(fd).size > 64 * 1024 * 1024) return; // almost all of it is a hole
      compare(files, readFileSync(file));
    } finally {
      closeSync(fd);
    }
  },
  close: () => {
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
    directory = undefined;
  },
};
