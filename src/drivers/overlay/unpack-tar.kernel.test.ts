import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { hexOf } from "../../base/digest.ts";
import { makeNode, setAttributes, setXattr } from "../../linux/file/index.ts";
import { dir, file, never, OverlayFixture } from "./testing/fixture.ts";
import { describeTree, sourceOf, TestOverlay } from "./testing/layers.ts";
import { defaultUnpackerCommand } from "./unpacker.ts";

const fixture = new OverlayFixture();
const { directory } = fixture;
const victim = join(directory, "victim");

describe("an archive that GNU tar made of everything", () => {
  const tree = join(directory, "everything");
  let tar: Buffer;
  let extracted: Buffer;

  before(() => {
    mkdirSync(join(tree, "dir/below"), { recursive: true });
    const at = (name: string): string => join(tree, name);
    const time = (seconds: number, nanoseconds: number) => ({ seconds, nanoseconds });
    writeFileSync(at("file"), "x".repeat(100_000));
    writeFileSync(at("dir/below/\u00fc \n"), "umlaut");
    writeFileSync(
      Buffer.concat([Buffer.from(at("bytes-")), Buffer.from([0xff, 0xfe])]),
      "no utf-8",
    );
    writeFileSync(at("empty"), "");
    linkSync(at("file"), at("dir/hard"));
    symlinkSync("/etc/passwd", at("absolute"));
    symlinkSync("nowhere", at("dir/dangling"));
    linkSync(at("dir/dangling"), at("hard-to-symlink"));
    const deep = join(tree, "d".repeat(200), "e".repeat(200));
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, "f".repeat(255)), "deep");
    makeNode(at("fifo"), 0o010600);
    makeNode(at("char"), 0o020600, { major: 1, minor: 3 });
    makeNode(at("block"), 0o060600, { major: 259, minor: 70_000 });
    writeFileSync(at("setuid"), "#!");
    setAttributes(at("setuid"), { uid: 1000, gid: 2000, mode: 0o6711, time: time(1, 1) });
    setAttributes(at("fifo"), { uid: 4_000_000_000, gid: 5, mode: 0o640, time: time(-5, 123) });
    setAttributes(at("absolute"), { uid: 7, gid: 8, mode: undefined, time: time(99, 999_999_999) });
    writeFileSync(at("capable"), "");
    // cap_net_raw+ep, revision 2, as the kernel stores it.
    const caps = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    setXattr(at("capable"), "security.capability", caps);
    setXattr(at("file"), "user.text", "a value\n= with \xff bytes");
    setXattr(at("dir"), "user.of-a-directory", "x".repeat(2000));
    setAttributes(at("dir/below"), { uid: 3, gid: 4, mode: 0o1777, time: time(1e9, 5) });
    setAttributes(at("dir"), {
      uid: 3,
      gid: 4,
      mode: 0o2750,
      time: time(2_000_000_000, 987_654_321),
    });
    setAttributes(tree, { uid: 11, gid: 12, mode: 0o711, time: time(1_500_000_000, 1) });
    const options = ["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"];
    tar = execFileSync("tar", [...options, "-C", tree, "-c", "."], { maxBuffer: 2 ** 28 });

    const byTar = join(directory, "by-tar");
    mkdirSync(byTar);
    execFileSync(
      "tar",
      ["--xattrs", "--xattrs-include=*", "-p", "--numeric-owner", "-C", byTar, "-x"],
      {
        input: tar,
      },
    );
    extracted = describeTree(byTar);
    assert.ok(extracted.equals(describeTree(tree)), "tar does not restore what it packed");
  });

  for (const [name, compress] of [
    ["plain", (bytes: Buffer) => bytes],
    ["gzip", (bytes: Buffer) => gzipSync(bytes)],
    ["zstd", (bytes: Buffer) => zstdCompressSync(bytes)],
  ] as const) {
    test(`${name}: every attribute equals that of GNU tar's extraction`, async () => {
      const source = sourceOf(tar, compress(tar));
      await fixture.layers.unpack(source, never);
      assert.ok(fixture.layers.has(source.diffId));
      assert.ok(describeTree(fixture.filesOf(source.diffId)).equals(extracted));
      const files = fixture.filesOf(source.diffId);
      assert.equal(statSync(join(files, "file")).ino, statSync(join(files, "dir/hard")).ino);
      const du = execFileSync("du", ["-s", "--block-size=1", files], { encoding: "utf8" });
      const inodes = execFileSync("du", ["-s", "--inodes", files], { encoding: "utf8" });
      assert.deepEqual(fixture.layers.usage(), {
        bytes: BigInt(Number.parseInt(du, 10)),
        inodes: BigInt(Number.parseInt(inodes, 10)),
      });
    });
  }

  test("the old formats of GNU tar", async () => {
    const plain = join(directory, "plain");
    mkdirSync(join(plain, "n".repeat(80)), { recursive: true });
    writeFileSync(join(plain, "n".repeat(80), "file"), "content");
    linkSync(join(plain, "n".repeat(80), "file"), join(plain, "link"));
    for (const format of ["gnu", "oldgnu", "ustar"]) {
      const args = [`--format=${format}`, "--mtime=@77", "-C", plain, "-c", "."];
      const source = sourceOf(execFileSync("tar", args));
      await fixture.layers.unpack(source, never);
      const byTar = join(directory, `by-tar-${format}`);
      mkdirSync(byTar);
      execFileSync("tar", ["-p", "-C", byTar, "-x"], {
        input: execFileSync("tar", args),
      });
      assert.ok(describeTree(fixture.filesOf(source.diffId)).equals(describeTree(byTar)), format);
    }
  });

  test("the command line starts the unpacker", async () => {
    const other = join(directory, "by-command-line");
    const unpacker = defaultUnpackerCommand();
    await using real = await TestOverlay.open(other, { unpacker });
    const diffId = await real.layer({ name: "file", data: "content" });
    const path = join(other, "layers", hexOf(diffId), "fs/file");
    assert.equal(readFileSync(path, "utf8"), "content");
  });
});

describe("several entries of one name", () => {
  test("the later entry replaces the earlier one, whatever their types", async () => {
    const diffId = await fixture.layer(
      dir("a"),
      file("a/b"),
      file("a", "was a directory"),
      file("c"),
      dir("c"),
      file("c/d"),
      { name: "e", type: "2", linkName: "c" },
      file("e", "was a symlink"),
      file("f"),
      { name: "f", type: "2", linkName: "c" },
      dir("g"),
      file("g/h"),
      { ...dir("g"), mode: 0o700, seconds: 42 },
    );
    const files = fixture.filesOf(diffId);
    assert.equal(readFileSync(join(files, "a"), "utf8"), "was a directory");
    assert.deepEqual(readdirSync(join(files, "c")), ["d"]);
    assert.equal(readFileSync(join(files, "e"), "utf8"), "was a symlink");
    assert.equal(readlinkSync(join(files, "f")), "c");
    assert.deepEqual(readdirSync(join(files, "g")), ["h"]);
    const { mode, mtimeMs } = statSync(join(files, "g"));
    assert.deepEqual([mode & 0o7777, mtimeMs], [0o700, 42_000]);
  });

  test("missing parents are created with mode 0755 and owner root; a hard link to itself is kept", async () => {
    const diffId = await fixture.layer(file("x/y/z"), {
      name: "x/y/z",
      type: "1",
      linkName: "./x/y/../y/z",
    });
    const { mode, uid, gid } = statSync(join(fixture.filesOf(diffId), "x/y"));
    assert.deepEqual([mode & 0o7777, uid, gid], [0o755, 0, 0]);
    assert.equal(readFileSync(join(fixture.filesOf(diffId), "x/y/z"), "utf8"), "x/y/z");
  });

  test("a device, a fifo or a symlink at the name is replaced, never written to", async () => {
    const diffId = await fixture.layer(
      { name: "null", type: "3", major: 1, minor: 3 },
      file("null", "file"),
      { name: "pipe", type: "6" },
      file("pipe", "file"),
      { name: "passwd", type: "2", linkName: victim },
      file("passwd", "file"),
    );
    for (const name of ["null", "pipe", "passwd"]) {
      const path = join(fixture.filesOf(diffId), name);
      assert.ok(lstatSync(path).isFile());
      assert.equal(readFileSync(path, "utf8"), "file");
    }
  });

  test("a symbolic link in the path is followed inside the layer", async () => {
    const diffId = await fixture.layer(
      dir("usr"),
      dir("usr/lib"),
      { name: "lib", type: "2", linkName: "/usr/lib" },
      file("lib/file"),
      { name: "up", type: "2", linkName: "../../../../usr" },
      file("up/other"),
    );
    assert.deepEqual(readdirSync(join(fixture.filesOf(diffId), "usr/lib")), ["file"]);
    assert.ok(existsSync(join(fixture.filesOf(diffId), "usr/other")));
  });
});
