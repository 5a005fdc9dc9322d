/** Files of a layer that take less or more than others: with holes, and with many attributes. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";

import { type Digest, hexOf } from "../../base/digest.ts";
import { kindOf } from "../../base/errors.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { setXattr } from "../../linux/file/index.ts";
import { type BuiltEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { describeTree, sourceOf, TestOverlay } from "./testing/layers.ts";

const never = new AbortController().signal;
const directory = mkdtempSync(join(tmpdir(), "davit-files-"));
let fixture: TestOverlay;
let count = 0;

beforeEach(async () => {
  fixture = await TestOverlay.open(join(directory, `root-${count++}`));
});
afterEach(() => fixture[Symbol.asyncDispose]());
after(() => rmSync(directory, { recursive: true }));

function filesOf(diffId: Digest): string {
  return join(fixture.root, "layers", hexOf(diffId), "fs");
}

async function assertRefused(source: LayerSource, message: RegExp): Promise<void> {
  await assert.rejects(fixture.layers.unpack(source, never), (error) => {
    assert.match(String(error), message);
    assert.equal(kindOf(error), "invalid-argument");
    return true;
  });
  assert.deepEqual(fixture.layers.list(), []);
}

describe("hard links", () => {
  // cap_net_raw+ep, revision 2, as the kernel stores it.
  const caps = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
  const capable = {
    name: "file",
    mode: 0o755,
    uid: 5,
    pax: { "SCHILY.xattr.security.capability": caps },
  };

  test("whose entry is like its file's leave it as it is, with its capabilities", async () => {
    const source = sourceOf(
      buildTar([capable, { name: "link", type: "1", linkName: "file", mode: 0o755, uid: 5 }]),
    );
    await fixture.layers.unpack(source, never);
    const files = filesOf(source.diffId);
    assert.ok(describeTree(files).includes("security.capability"));
    assert.equal(statSync(join(files, "file")).nlink, 2);
  });

  test("whose entry has other attributes change the file, as in containerd", async () => {
    const source = sourceOf(
      buildTar([
        { ...capable, mode: 0o4755 },
        { name: "link", type: "1", linkName: "file", mode: 0o640, uid: 6, gid: 7, seconds: 8 },
        { name: "sym", type: "2", linkName: "file", uid: 3 },
        { name: "same sym", type: "1", linkName: "sym", mode: 0o600, uid: 9 },
      ]),
    );
    await fixture.layers.unpack(source, never);
    const files = filesOf(source.diffId);
    const { mode, uid, gid, mtimeMs } = statSync(join(files, "file"));
    assert.deepEqual([mode & 0o7777, uid, gid, mtimeMs], [0o640, 6, 7, 8000]);
    assert.equal(lstatSync(join(files, "sym")).uid, 3);
  });
});

describe("sparse files of GNU tar: holes stay holes", () => {
  for (const format of [
    ["--format=gnu"],
    ["--format=pax", "--sparse-version=0.0"],
    ["--format=pax", "--sparse-version=0.1"],
    ["--format=pax", "--sparse-version=1.0"],
  ]) {
    test(`${format.join(" ")}: holes stay holes`, async () => {
      const sparse = join(directory, `sparse-${format.at(-1)}`);
      mkdirSync(sparse);
      for (const [name, size] of [
        ["middle", 8_000_000],
        ["end", 50_000_000],
        ["nothing", 3_000_000],
      ] as const) {
        const fd = openSync(join(sparse, name), "w");
        if (name !== "nothing") writeSync(fd, "first", 1_000_000);
        if (name === "middle") writeSync(fd, "last", size - 4);
        ftruncateSync(fd, size);
        closeSync(fd);
      }
      const args = ["--sparse", ...format, "-C", sparse, "-c", "."];
      const archive = execFileSync("tar", args, { maxBuffer: 2 ** 26 });
      assert.ok(archive.length < 200_000, "tar has found no holes");
      const source = sourceOf(archive);
      await fixture.layers.unpack(source, never);
      for (const name of ["middle", "end", "nothing"]) {
        const path = join(filesOf(source.diffId), name);
        assert.ok(readFileSync(path).equals(readFileSync(join(sparse, name))), name);
        assert.ok(statSync(path).blocks * 512 < 200_000, `${name} has no holes`);
      }
      assert.ok(fixture.layers.usage().bytes < 1_000_000n);
    });
  }
});

describe("extended attributes", () => {
  test("as many as GNU tar brings to this file system", async () => {
    const attributes = join(directory, "attributes");
    mkdirSync(join(attributes, "dir"), { recursive: true });
    writeFileSync(join(attributes, "file"), "");
    for (const name of ["dir", "file"]) {
      const path = join(attributes, name);
      for (let at = 0; at < 60; at++) setXattr(path, `user.attribute-${at}`, "v".repeat(30));
    }
    const args = ["--format=pax", "--xattrs", "--xattrs-include=*", "-C", attributes, "-c", "."];
    const source = sourceOf(execFileSync("tar", args, { maxBuffer: 2 ** 26 }));
    await fixture.layers.unpack(source, never);
    assert.ok(describeTree(filesOf(source.diffId)).equals(describeTree(attributes)));
  });

  test("one that no file system takes is the image's fault", async () => {
    const name = "SCHILY.xattr.user.large";
    const tar = buildTar([{ name: "a/b", pax: { [name]: "x".repeat(900_000) } }]);
    const message =
      /unpack layer "sha256:.*entry "\/a\/b" has more attributes than .*"user.large" of 900000 bytes does not fit \(E2BIG\)/;
    await assertRefused(sourceOf(tar), message);
  });

  test("too many are the image's fault, and no full disk", async () => {
    const names = Array.from({ length: 2000 }, (_, at) => `SCHILY.xattr.user.attribute-${at}`);
    const pax = Object.fromEntries(names.map((name) => [name, "v".repeat(100)]));
    const source = sourceOf(buildTar([{ name: "many", pax }]));
    const isExt4 = statfsSync(directory).type === 0xef53;
    if (isExt4) {
      const message =
        /entry "\/many" has more attributes than the file system supports.*\(ENOSPC\)/;
      await assertRefused(source, message);
      return;
    }
    await fixture.layers
      .unpack(source, never)
      .catch((error: unknown) => assert.equal(kindOf(error), "invalid-argument", String(error)));
  });
});

describe("deep entries", () => {
  const deep = (name: string): string => `${"\xe9/".repeat(1200)}${name}`;
  const entry = (path: string, more = {}): BuiltEntry => ({ name: "x", pax: { path }, ...more });

  test("are made, replaced and reported below a name that is not UTF-8", async () => {
    const tar = buildTar([
      entry(deep("one"), { data: "one" }),
      entry(`1/${deep("file")}`, { data: "file" }),
      { name: "up", type: "2", linkName: "1/\xe9/../../1" },
      entry(`up/${deep("other")}`, { data: "other" }),
      { name: "1", data: "a file in place of the tree" },
      { name: "\xe9/\xe9/\xe9/last", data: "last" },
    ]);
    const source = sourceOf(tar);
    await fixture.layers.unpack(source, never);
    const root = Buffer.from(`${filesOf(source.diffId)}/`);
    const at = (path: string): Buffer => Buffer.concat([root, Buffer.from(path, "latin1")]);
    assert.equal(readFileSync(at(deep("one")), "utf8"), "one");
    assert.equal(readFileSync(at("1"), "utf8"), "a file in place of the tree");
    assert.equal(readFileSync(at("\xe9/\xe9/\xe9/last"), "utf8"), "last");
    assert.equal(lstatSync(at("\xe9/\xe9")).mode & 0o7777, 0o755);
    await fixture.layers.remove(source.diffId);
  });
});
