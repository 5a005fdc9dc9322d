import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import type { LegacyCgroups } from "./layout.ts";
import { cgroupsIn, createEmptyCgroup, removeCgroup, removeCgroupDirs } from "./tree.ts";

// Plain directories in place of two hierarchies: like cgroups, they can be removed when they are empty.
let root = "";
let layout: LegacyCgroups;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "davit-tree-"));
  const hierarchies = ["one", "two"].map((name) => ({ path: join(root, name), controllers: [] }));
  layout = { version: "v1", hierarchies, ownedByV2: [], advice: undefined };
  for (const { path } of hierarchies) mkdirSync(path);
});
afterEach(() => rmSync(root, { recursive: true }));

function make(...paths: readonly string[]): void {
  for (const path of paths) mkdirSync(join(root, path), { recursive: true });
}
const exists = (path: string): boolean => existsSync(join(root, path));

describe("removeCgroup()", () => {
  test("removes a cgroup with all in it from every hierarchy, and no other one", async () => {
    make("one/pod/a/deep/er", "one/pod/ü b/c", "one/other/pod", "two/pod");
    await removeCgroup(layout, "/pod");
    assert.deepEqual(readdirSync(join(root, "one")), ["other"]);
    assert.deepEqual(readdirSync(join(root, "two")), []);
    await removeCgroup(layout, "/pod");
    make("two/pod");
    await removeCgroup(layout, "/pod");
    assert.equal(exists("two/pod"), false);
  });

  test("removes no file, follows no link, and removes everything else", async () => {
    make("one/pod/mine/below", "one/pod/sibling", "one/other", "two/pod/below");
    writeFileSync(join(root, "one/pod/mine/file"), "");
    symlinkSync(join(root, "one/other"), join(root, "one/pod/mine/link"));
    await assert.rejects(removeCgroup(layout, "/pod"), (error) => {
      const mine = join(root, "one/pod/mine");
      assert.equal(String(error), `SystemError: remove cgroup "${mine}": ENOTEMPTY`);
      return true;
    });
    assert.deepEqual(readdirSync(join(root, "one/pod")), ["mine"]);
    assert.deepEqual(readdirSync(join(root, "one/pod/mine")), ["file", "link"]);
    assert.deepEqual([exists("one/other"), exists("two/pod")], [true, false]);
  });

  test("names a path that is not a directory", async () => {
    writeFileSync(join(root, "one/pod"), "");
    await assert.rejects(removeCgroup(layout, "/pod"), (error) => {
      assert.match(String(error), /remove cgroup ".*one\/pod": not a directory/);
      return isKind(error, "not-found");
    });
    assert.equal(exists("one/pod"), true);
  });
});

describe("createEmptyCgroup()", () => {
  test("makes the cgroup where its parent is, and never the parent", async () => {
    make("one/pod");
    assert.equal(await createEmptyCgroup(layout, "/pod/a"), true);
    assert.deepEqual([exists("one/pod/a"), exists("two/pod")], [true, false]);
    assert.equal(await createEmptyCgroup(layout, "/pod/a"), true);
    assert.equal(await createEmptyCgroup(layout, "/gone/a"), false);
    assert.equal(exists("one/gone"), false);
  });

  test("names a path whose parent is not a directory", async () => {
    writeFileSync(join(root, "one/pod"), "");
    await assert.rejects(createEmptyCgroup(layout, "/pod/a"), /create cgroup ".*one\/pod\/a"/);
  });
});

describe("removeCgroupDirs()", () => {
  test("removes the last first, keeps a parent in use, and skips missing ones", async () => {
    make("one/a/b/c", "one/a/other", "two/a");
    const dirs = ["one/a", "one/a/b", "one/a/b/c", "two/a", "two/a/gone"];
    await removeCgroupDirs(dirs.map((dir) => join(root, dir)));
    assert.deepEqual(readdirSync(join(root, "one/a")), ["other"]);
    assert.equal(exists("two/a"), false);
    await removeCgroupDirs([]);
  });
});

test("cgroupsIn() names each cgroup once, with any bytes, and none of a removed one", async () => {
  make("one/pod/a", "one/pod/ü b/c", "two/pod/a", "two/pod/d");
  writeFileSync(join(root, "two/pod/tasks"), "");
  assert.deepEqual([...(await cgroupsIn(layout, "/pod"))].toSorted(), ["a", "d", "ü b"]);
  assert.deepEqual(await cgroupsIn(layout, "/gone"), []);
  writeFileSync(join(root, "one/file"), "");
  await assert.rejects(cgroupsIn(layout, "/file"), /list cgroup ".*one\/file": not a directory/);
});
