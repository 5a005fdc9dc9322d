import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { DiskSpace } from "../linux/host/index.ts";
import { LimitedSink, parseLimits, type UnpackLimits } from "./limits.ts";
import type { TarEntry } from "./tar-entry.ts";
import { TarReader, type TarSink } from "./tar-reader.ts";
import { type BuiltEntry, buildTar } from "./testing/tar-builder.ts";

/** Collects the paths of entries. */
class KeptEntries implements TarSink {
  readonly paths: string[] = [];

  entry({ path }: TarEntry): void {
    this.paths.push(path);
  }

  data(): void {}
  hole(): void {}
  endEntry(): void {}
}

const disk = "/images";
const roomy: DiskSpace = { bsize: 4096, blocks: 1e9, bavail: 1e9, files: 0, ffree: 0 };

/** Reads an archive of these entries. Returns the paths that pass the limits. */
function read(
  entries: readonly BuiltEntry[],
  limits: UnpackLimits,
  space = (): DiskSpace => roomy,
): readonly string[] {
  const kept = new KeptEntries();
  const sink = new LimitedSink(kept, limits, space);
  const reader = new TarReader(sink);
  const tar = buildTar(entries);
  try {
    for (let at = 0; at < tar.length; at += 512) {
      sink.archive(512);
      reader.write(tar.subarray(at, at + 512));
    }
  } catch (error) {
    throw Object.assign(error as Error, { paths: kept.paths });
  }
  return kept.paths;
}

describe("LimitedSink", () => {
  const files = ["a", "b", "c"].map((name) => ({ name }));

  test("accepts a layer within the limits", () => {
    const limits = { disk, entries: { most: 3, why: "" }, bytes: { most: 5 * 512, why: "" } };
    assert.deepEqual(read(files, limits), ["a", "b", "c"]);
  });

  test("rejects the first entry beyond the limit, before it is made", () => {
    assert.throws(() => read(files, { disk, entries: { most: 2, why: "2 of them" } }), {
      kind: "failed-precondition",
      message: "it has more than 2 of them",
      paths: ["a", "b"],
    });
  });

  test("rejects bytes beyond the limit, before they are read", () => {
    assert.throws(() => read(files, { disk, bytes: { most: 1024, why: "1 KiB" } }), {
      kind: "failed-precondition",
      message: "it has more than 1 KiB",
      paths: ["a", "b"],
    });
  });

  test("counts the holes of sparse files as bytes of the layer", () => {
    const pax = { "GNU.sparse.map": "0,1", "GNU.sparse.numblocks": "1" };
    const hole = { name: "a", data: "x", pax: { ...pax, "GNU.sparse.size": String(2 ** 40) } };
    assert.throws(() => read([hole], { disk, bytes: { most: 2 ** 40, why: "1 TiB" } }), {
      kind: "failed-precondition",
      paths: ["a"],
    });
    const space = (): DiskSpace => ({ ...roomy, blocks: 1e6, bavail: 1e6 });
    assert.deepEqual(read([hole], { disk }, space), ["a"], "they take nothing of the disk");
  });

  test("counts the directories on the way to an entry, and behind a symbolic link, as inodes", () => {
    // 100 of 2,000 stay free, and one entry may use an eighth of the rest.
    const space = (ffree: number) => (): DiskSpace => ({ ...roomy, files: 2000, ffree });
    assert.deepEqual(read([{ name: "a/b/c" }], { disk }, space(124)), ["a/b/c"]);
    assert.throws(() => read([{ name: "a/b/c" }], { disk }, space(123)), {
      kind: "resource-exhausted",
      message: /"\/images" has 123 inodes free, of which 100 must stay free/,
    });
    const link = { name: "a", type: "2", linkName: "b/c/d" };
    assert.throws(() => read([link], { disk }, space(123)), { kind: "resource-exhausted" });
  });

  test("checks the disk again for each entry when there are few inodes", () => {
    let ffree = 200;
    const space = (): DiskSpace => ({ ...roomy, files: 2000, ffree: ffree-- });
    const many = Array.from({ length: 200 }, (_, at) => ({ name: `${at}` }));
    assert.throws(() => read(many, { disk }, space), /has 107 inodes free/);
  });
});

describe("parseLimits()", () => {
  test("reads its own format, with and without limits", () => {
    const limits = { disk, bytes: { most: 1, why: "a" }, entries: { most: 2, why: "b" } };
    assert.deepEqual(parseLimits(limits), limits);
    assert.deepEqual(parseLimits({ disk }), { disk });
  });

  test("rejects other values", () => {
    for (const wrong of [{}, null, 7, undefined, { disk: 7 }, { disk: "/", bytes: 5 }]) {
      assert.throws(() => parseLimits(wrong), { kind: "internal" }, JSON.stringify(wrong));
    }
  });
});
