import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { encodeDevice, mapChunks } from "./format.ts";
import { Tree, TreeDirectory, TreeEntry } from "./tree.ts";

const hole = 0xffff_ffff;
const blocks = (map: Buffer): readonly number[] =>
  Array.from({ length: map.length / 4 }, (_, at) => map.readUInt32LE(4 * at));

describe("mapChunks()", () => {
  test("marks the blocks that are holes", () => {
    const { map, format } = mapChunks(5 * 4096 + 1, 100, [0, 1, 3, 3]);
    assert.equal(format, 0);
    assert.deepEqual(blocks(map), [hole, 101, 102, hole, hole, hole]);
  });

  test("a chunk of a large file is a hole only if all of its blocks are", () => {
    const count = 4 * 65_536;
    // Each chunk has four blocks: the first is data, the next two are holes, the fourth is partly one.
    const { map, format } = mapChunks(count * 4096, 10, [4, 9, 13, 1, 15, 100]);
    assert.equal(format, 2);
    assert.deepEqual(blocks(map).slice(0, 5), [10, hole, hole, 22, hole]);
    assert.equal(blocks(map).length, 65_536);
  });
});

test("encodeDevice() has the form of the kernel's new_encode_dev()", () => {
  assert.equal(encodeDevice(0, 0), 0);
  assert.equal(encodeDevice(1, 3), 0x103);
  assert.equal(encodeDevice(4095, 1_048_575), 0xffff_ffff);
});

describe("Tree", () => {
  const time = { seconds: 0, nanoseconds: 0 };
  const failsWith = (code: string) => (error: unknown) =>
    error instanceof Error && "code" in error && error.code === code;

  test("resolves paths like the kernel", () => {
    const tree = new Tree(time);
    const file = new TreeEntry(7, 0o100644);
    tree.add("/dir", new TreeDirectory(5, time));
    tree.add("/dir/file", file);
    tree.add("/loop", new TreeEntry(8, 0o120777, { target: "loop" }));
    tree.add("/up", new TreeEntry(9, 0o120777, { target: "../../dir/./" }));
    tree.add("/dir/root", new TreeEntry(10, 0o120777, { target: "/" }));
    assert.equal(tree.find("/up/file"), file);
    assert.equal(tree.find("/dir/root/up/root/dir/file"), file);
    assert.equal(tree.find("/dir/none"), undefined);
    assert.equal(tree.find("/"), tree.root);
    assert.throws(() => tree.find("/none/x"), failsWith("ENOENT"));
    assert.throws(() => tree.find("/dir/file/x"), failsWith("ENOTDIR"));
    assert.throws(() => tree.find("/loop/x"), failsWith("ELOOP"));
    assert.throws(() => tree.find(`/${"n".repeat(256)}`), failsWith("ENAMETOOLONG"));
    assert.throws(() => tree.add("/dir", file), failsWith("EEXIST"));
  });

  test("forgets what it resolved when an entry is removed", () => {
    const tree = new Tree(time);
    tree.add("/a", new TreeDirectory(5, time));
    tree.add("/a/x", new TreeEntry(7, 0o100644));
    assert.ok(tree.find("/a/x"));
    tree.remove("/a");
    assert.throws(() => tree.find("/a/x"), failsWith("ENOENT"));
    tree.add("/a", new TreeDirectory(6, time));
    assert.equal(tree.find("/a/x"), undefined);
  });

  test("bounds its memory", () => {
    const tree = new Tree(time);
    const many = (): void => {
      for (let n = 0; ; n++) tree.take(1024 * 1024);
    };
    assert.throws(many, (error) => isKind(error, "out-of-range"));
  });
});
