/** Layers that are EROFS images have the same files as layers that are directories. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import type { Digest } from "../../base/digest.ts";
import { makeNode, setAttributes, setXattr } from "../../linux/file/index.ts";
import { type BuiltEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { never } from "./testing/fixture.ts";
import { describeTree, erofsObstacle, sourceOf, TestOverlay } from "./testing/layers.ts";

const skip = await erofsObstacle();
const directory = mkdtempSync(join(tmpdir(), "davit-erofs-"));
let images: TestOverlay;
let directories: TestOverlay;

before(async () => {
  images = await TestOverlay.open(join(directory, "images"), { format: "erofs" });
  directories = await TestOverlay.open(join(directory, "directories"));
});
after(async () => {
  await images[Symbol.asyncDispose]();
  await directories[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** What GNU tar does not record: links, devices, and where files have data. */
function describeInodes(root: string): string {
  const program = `
import os, sys
for at, names, files in os.walk(os.fsencode(sys.argv[1])):
    for name in sorted(names + files):
        path = os.path.join(at, name)
        info = os.lstat(path)
        holes = []
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, 'rb') as file:
                end = 0
                while end < info.st_size:
                    try: start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                    except OSError: break
                    end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                    holes.append((start, min(end, info.st_size)))
        size = 0 if os.path.isdir(path) else info.st_size
        xattrs = {key: os.getxattr(path, key, follow_symlinks=False) for key in sorted(os.listxattr(path, follow_symlinks=False))}
        print(path[len(sys.argv[1]):], xattrs, oct(info.st_mode), info.st_uid, info.st_gid, info.st_nlink, info.st_rdev, size, holes)
`;
  const lines = execFileSync("python3", ["-c", program, root], { encoding: "utf8" });
  return lines.split("\n").sort().join("\n");
}

/** Unpacks an archive in both formats and compares all files. Returns where the image is mounted. */
async function compare(tar: Buffer): Promise<string> {
  const source = (): ReturnType<typeof sourceOf> => sourceOf(tar);
  const { diffId } = source();
  for (const { layers } of [images, directories]) await layers.unpack(source(), never);
  const image = await images.filesOf(diffId);
  const expected = await directories.filesOf(diffId);
  assert.equal(describeInodes(image), describeInodes(expected));
  assert.deepEqual(describeTree(image), describeTree(expected));
  return image;
}

const time = (seconds: number, nanoseconds = 0) => ({ seconds, nanoseconds });
const dir = (name: string): BuiltEntry => ({ name, type: "5", time: 5 }) as BuiltEntry;
const file = (name: string, data = name): BuiltEntry => ({ name, data });

test("an archive of GNU tar with everything", { skip }, async () => {
  const tree = join(directory, "tree");
  const at = (name: string): string => join(tree, name);
  mkdirSync(at("dir/below"), { recursive: true });
  for (const size of [0, 1, 63, 64, 3967, 3968, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 70_000]) {
    writeFileSync(at(`size-${size}`), Buffer.alloc(size, `${size},`));
  }
  writeFileSync(at("large"), Buffer.alloc(3_000_001, "0123456789abcdef!"));
  linkSync(at("large"), at("dir/hard"));
  for (const length of [1, 59, 3900, 4094]) symlinkSync("x".repeat(length), at(`soft-${length}`));
  linkSync(at("soft-59"), at("dir/hard-to-symlink"));
  writeFileSync(Buffer.concat([Buffer.from(at("bytes-")), Buffer.from([0xff, 0xfe])]), "no utf-8");
  writeFileSync(at("n".repeat(255)), "");
  makeNode(at("fifo"), 0o010600);
  makeNode(at("char"), 0o020600, { major: 1, minor: 3 });
  makeNode(at("block"), 0o060600, { major: 4095, minor: 1_048_575 });
  const owner = { uid: 4_000_000_000, gid: 4_000_000_001 };
  setAttributes(at("fifo"), { ...owner, mode: 0o640, time: time(-5, 123) });
  setAttributes(at("size-1"), { ...owner, mode: 0o6711, time: time(1, 999_999_999) });
  setAttributes(at("soft-1"), { ...owner, mode: undefined, time: time(2 ** 33, 7) });
  const caps = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
  setXattr(at("size-63"), "security.capability", caps);
  setXattr(at("size-4033"), "user.large", "v".repeat(3000));
  setXattr(at("dir"), "user.of-a-directory", "\xff\n=");
  setAttributes(at("dir"), { uid: 3, gid: 4, mode: 0o2750, time: time(2e9, 987_654_321) });
  setAttributes(tree, { uid: 11, gid: 12, mode: 0o711, time: time(1.5e9, 1) });
  const options = ["--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"];
  const tar = execFileSync("tar", [...options, "-C", tree, "-c", "."], { maxBuffer: 2 ** 28 });
  const image = await compare(tar);
  assert.equal(lstatSync(join(image, "large")).ino, lstatSync(join(image, "dir/hard")).ino);
});

test("hard links change the attributes of files that were written before", { skip }, async () => {
  const link = (name: string, more: Partial<BuiltEntry>): BuiltEntry => ({
    name,
    type: "1",
    linkName: "first",
    ...more,
  });
  const last = { mode: 0o600, uid: 70_000, gid: 5, seconds: 300 };
  await compare(
    buildTar([
      { name: "./", type: "5", seconds: 5 },
      { ...file("first"), mode: 0o644, uid: 1, gid: 2, seconds: 100 },
      link("at-once", { mode: 0o4755, uid: 3, gid: 4, seconds: 200 }),
      file("other"),
      { name: "sub", type: "5", seconds: 6 },
      link("sub/later", last),
      file("another"),
      link("same", last),
    ]),
  );
});

test("sparse files keep their holes, and the image is as small", { skip }, async () => {
  const tree = join(directory, "sparse");
  mkdirSync(tree);
  for (const [name, size, ...writes] of [
    ["middle", 8_000_000, 0, 1_000_000, 7_999_000],
    ["end", 50_000_000, 1_000_000],
    ["nothing", 3_000_000],
    ["beginning", 100_000, 99_000],
    // More blocks than a map has entries: the chunks are larger, and of another alignment.
    ["huge", 8 * 2 ** 30, 5 * 2 ** 30, 5 * 2 ** 30 + 2 ** 20],
  ] as const) {
    const fd = openSync(join(tree, name), "w");
    for (const where of writes) writeSync(fd, "data", where);
    ftruncateSync(fd, size);
    closeSync(fd);
  }
  const args = ["--sparse", "--format=pax", "-C", tree, "-c", "."];
  const before = images.layers.usage().bytes;
  await compareSparse(execFileSync("tar", args, { maxBuffer: 2 ** 26 }));
  assert.ok(images.layers.usage().bytes - before < 2_000_000n);
});

/** The holes of the largest file need not be as long. */
async function compareSparse(tar: Buffer): Promise<void> {
  const source = sourceOf(tar);
  await images.layers.unpack(source, never);
  await directories.layers.unpack(sourceOf(tar), never);
  const of = async (overlay: TestOverlay): Promise<string> => {
    const files = await overlay.filesOf(source.diffId);
    const sums = execFileSync("sha256sum", ["middle", "end", "nothing", "beginning"], {
      cwd: files,
      encoding: "utf8",
    });
    return `${sums}\n${describeInodes(files).replace(/^(b'\/huge'.*)\[.*\]$/m, "$1")}`;
  };
  assert.equal(await of(images), await of(directories));
  const files = await images.filesOf(source.diffId);
  const huge = describeInodes(files)
    .split("\n")
    .find((line) => line.startsWith("b'/huge'"));
  // Chunks of 128 KiB.
  assert.match(huge ?? "", /\[\(5368709120, 5368840192\), \(5369757696, 5369888768\)\]$/);
}

describe("archives that replace what they made", { skip }, () => {
  const cases: Readonly<Record<string, readonly BuiltEntry[]>> = {
    "files, links and directories": [
      file("a", "one"),
      { name: "b", type: "1", linkName: "a" },
      file("a", "two"),
      dir("d"),
      file("d/x"),
      { name: "d", type: "2", linkName: "a" },
      dir("e"),
      { name: "e/f", type: "1", linkName: "b" },
      file("e", "now a file"),
      { name: "c", type: "1", linkName: "b" },
    ],
    "paths through symbolic links": [
      dir("real"),
      { name: "soft", type: "2", linkName: "/real" },
      { name: "real/up", type: "2", linkName: "../../../real/./" },
      file("soft/up/one"),
      { name: "two", type: "1", linkName: "soft/up/one" },
      dir("soft"),
      file("soft/three"),
    ],
    "whiteouts and opaque directories": [
      file(".wh.gone", ""),
      dir("opaque"),
      file("opaque/.wh..wh..opq", ""),
      file("opaque/new"),
      file("x/.wh.y", ""),
      dir("x/y"),
      file("x/y/z"),
    ],
  };
  for (const [name, entries] of Object.entries(cases)) {
    test(name, async () => {
      const described = entries.map((entry) => ({ ...entry, mtime: 77 }));
      const image = await withoutTimes(buildTar(described));
      assert.ok(readdirSync(image).length > 0);
    });
  }
});

test("access control lists change the mode, or are kept", { skip }, async () => {
  const entry = (tag: number, permissions: number, id = 0xffff_ffff): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16LE(tag, 0);
    bytes.writeUInt16LE(permissions, 2);
    bytes.writeUInt32LE(id, 4);
    return bytes;
  };
  const acl = (...entries: readonly Buffer[]): string =>
    Buffer.concat([Buffer.from([2, 0, 0, 0]), ...entries]).toString("latin1");
  const plain = acl(entry(1, 6), entry(4, 5), entry(32, 1));
  const long = acl(entry(1, 7), entry(2, 6, 7), entry(4, 5, 9), entry(16, 4), entry(32, 0));
  const [access, byDefault] = ["access", "default"].map(
    (name) => `SCHILY.xattr.system.posix_acl_${name}`,
  );
  const none = acl();
  await withoutTimes(
    buildTar([
      { ...file("plain"), mode: 0o4777, pax: { [access ?? ""]: plain } },
      { ...file("long"), mode: 0o600, pax: { [access ?? ""]: long } },
      { ...file("none"), mode: 0o600, pax: { [access ?? ""]: none } },
      { ...dir("dir"), mode: 0o2755, pax: { [byDefault ?? ""]: long } },
    ]),
  );
  const wrong = acl(entry(4, 5), entry(1, 6), entry(32, 1));
  for (const value of [wrong, long.slice(0, -3), acl(entry(1, 8), entry(4, 0), entry(32, 0))]) {
    const tar = buildTar([{ ...file("wrong"), pax: { [access ?? ""]: value } }]);
    for (const { layers } of [images, directories]) {
      await assert.rejects(layers.unpack(sourceOf(tar), never), /cannot be made: .*EINVAL/);
    }
  }
});

/** Like compare(), without the times of directories that no entry describes. */
async function withoutTimes(tar: Buffer): Promise<string> {
  const { diffId } = sourceOf(tar);
  for (const { layers } of [images, directories]) await layers.unpack(sourceOf(tar), never);
  const [image, expected] = [await images.filesOf(diffId), await directories.filesOf(diffId)];
  assert.equal(describeInodes(image), describeInodes(expected));
  return image;
}

test("a directory with 20,000 entries, and names in the order of their bytes", {
  skip,
}, async () => {
  const names = Array.from({ length: 20_000 }, (_, n) => `!-${n.toString(36)}`);
  const special = ["-", "!", "+x", ".a", "0", "~"];
  const diffId: Digest = await images.layer(
    ...[...special, ...names].map((name) => file(name, "")),
  );
  const files = await images.filesOf(diffId);
  assert.equal(readdirSync(files).length, names.length + special.length);
  for (const name of [...special, "!-0", "!-fff", "!-9"]) assert.ok(lstatSync(join(files, name)));
  assert.throws(() => lstatSync(join(files, "!-zzzz")), /ENOENT/);
});
