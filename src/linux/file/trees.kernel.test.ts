import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { bindMount, unmount } from "../mount/index.ts";
import { setXattr } from "./native.ts";
import { diskUsage, relabel, removeTree, removeTrees, syncFileSystem } from "./index.ts";
import { errnoCode } from "../../base/system-error.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-trees-"));
const other = join(directory, "other");
const tree = join(directory, "tree");

before(() => {
  mkdirSync(other);
  writeFileSync(join(other, "precious"), "");
});
after(() => rmSync(directory, { recursive: true }));

function sh(script: string): void {
  execFileSync("sh", ["-euc", script, "sh", tree]);
}

describe("relabel()", () => {
  const label = "system_u:object_r:container_file_t:s0:c1,c2";
  // The kernel stores the attribute for root, also without SELinux; libselinux adds a trailing NUL.
  const labelOf = (path: string): string => {
    const script = `
import os, sys
try: print(os.getxattr(sys.argv[1], "security.selinux", follow_symlinks=False).decode())
except OSError as e: print(e.strerror)`;
    return execFileSync("python3", ["-c", script, path], { encoding: "utf8" }).trim();
  };

  test("labels a directory tree on its mount, and links themselves, and does not write existing labels", async () => {
    sh('mkdir -p "$1/a/b/mount"; : > "$1/a/b/file"; mkfifo "$1/pipe"');
    symlinkSync(join(other, "precious"), join(tree, "link"));
    setXattr(join(tree, "a"), "security.selinux", `${label}\0`);
    await bindMount(other, join(tree, "a/b/mount"));
    try {
      await relabel(tree, label);
      for (const path of ["", "a/b", "a/b/file", "pipe", "link"])
        assert.equal(labelOf(join(tree, path)), label, path);
      assert.equal(labelOf(join(tree, "a")), `${label}\0`);
      for (const path of [join(other, "precious"), other])
        assert.equal(labelOf(path), "No data available");
      await relabel(tree, label.replace("c2", "c3"));
      assert.equal(labelOf(join(tree, "a")), label.replace("c2", "c3"));
    } finally {
      await unmount(join(tree, "a/b/mount"));
      await removeTree(tree);
    }
  });

  test("labels a single file, and rejects a link and a missing file", async () => {
    sh('mkdir "$1"; : > "$1/one"; : > "$1/two"; ln -s one "$1/link"');
    await relabel(join(tree, "one"), label);
    assert.equal(labelOf(join(tree, "one")), label);
    assert.equal(labelOf(join(tree, "two")), "No data available");
    await assert.rejects(relabel(join(tree, "link"), label), /ELOOP|symbolic/);
    await assert.rejects(relabel(join(tree, "none"), label), (error) => isKind(error, "not-found"));
    await removeTree(tree);
  });

  test("does nothing on a file system without labels", async () => {
    await relabel("/proc/self/comm", label);
  });
});

describe("removeTree()", () => {
  test("removes any names, devices and links, and follows no link", async () => {
    sh('mkdir -p "$1/a/b"; cd "$1"; mkfifo pipe; mknod null c 1 3; : > ".deep-0"; : > "\t\n"');
    symlinkSync(other, join(tree, "link"));
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff])]), "");
    await removeTree(tree);
    assert.equal(existsSync(tree), false);
    assert.deepEqual(readdirSync(other), ["precious"]);
    symlinkSync(other, tree);
    await removeTree(tree);
    assert.deepEqual(readdirSync(other), ["precious"]);
    await removeTree(tree);
  });

  test("removes directories deeper than the longest path", async () => {
    // Three chains of 3,000 directories; no path leads to their ends.
    const script = `
      import os, sys
      os.mkdir(sys.argv[1])
      for chain in range(3):
          os.chdir(sys.argv[1])
          for _ in range(3000):
              os.mkdir("d%d" % chain); os.chdir("d%d" % chain)
          open("file", "w").close()
    `.replaceAll("\n      ", "\n");
    execFileSync("python3", ["-c", script, tree]);
    await removeTree(tree);
    assert.equal(existsSync(tree), false);
  });

  test("removes more entries than one batch, and stops between batches", async () => {
    sh('mkdir "$1"; cd "$1"; seq 12000 | xargs touch');
    const controller = new AbortController();
    const call = removeTree(tree, controller.signal);
    controller.abort(new Error("enough"));
    await assert.rejects(call, /enough/);
    const left = readdirSync(tree).length;
    assert.ok(left > 0 && left < 12_000, String(left));
    await removeTree(tree);
    assert.equal(existsSync(tree), false);
  });

  test("takes several in their order, more than one batch of them, and stops at one that stays", async () => {
    const [file, stays, last] = ["file", "stays", "last"].map((name) => join(tree, name));
    assert.ok(file !== undefined && stays !== undefined && last !== undefined);
    sh(
      'mkdir -p "$1/stays/bound" "$1/last/in"; : > "$1/file"; cd "$1/stays"; seq 6000 | xargs touch',
    );
    await bindMount(other, join(stays, "bound"));
    await assert.rejects(removeTrees([join(tree, "none"), file, stays, last]), /EXDEV/);
    assert.deepEqual(readdirSync(tree).toSorted(), ["last", "stays"]);
    assert.deepEqual(readdirSync(stays), ["bound"]);
    await unmount(join(stays, "bound"));
    sh('cd "$1/stays"; seq 6000 | xargs touch');
    await removeTrees([file, stays, last]);
    assert.deepEqual(readdirSync(tree), []);
    await removeTrees([tree]);
    assert.deepEqual(readdirSync(other), ["precious"]);
  });

  test("enters no mount, and removes everything else before it rejects", async () => {
    mkdirSync(join(tree, "bound"), { recursive: true });
    await bindMount(other, join(tree, "bound"));
    mkdirSync(join(tree, "z"));
    writeFileSync(join(tree, "z/file"), "");
    await assert.rejects(removeTree(tree), /open directory "bound": EXDEV/);
    assert.deepEqual(readdirSync(tree), ["bound"]);
    assert.deepEqual(readdirSync(other), ["precious"]);
    await unmount(join(tree, "bound"));
    await removeTree(tree);
  });
});

describe("diskUsage()", () => {
  test("equals du, with hard links once, without mounts in it", async () => {
    sh('mkdir -p "$1/a/b"; cd "$1"; head -c 100000 /dev/zero > file; ln file a/hard; ln -s x y');
    writeFileSync(join(tree, "a/b/other"), Buffer.alloc(5000));
    const du = (...args: readonly string[]): bigint =>
      BigInt(Number.parseInt(execFileSync("du", ["-s", ...args, tree], { encoding: "utf8" }), 10));
    const usage = await diskUsage(tree);
    assert.deepEqual(usage, { bytes: du("--block-size=1"), inodes: du("--inodes") });
    mkdirSync(join(tree, "bound"));
    const withDirectory = await diskUsage(tree);
    writeFileSync(join(other, "large"), Buffer.alloc(100_000));
    await bindMount(other, join(tree, "bound"));
    const { inodes } = await diskUsage(tree);
    assert.equal(inodes, withDirectory.inodes);
    await unmount(join(tree, "bound"));
    await removeTree(tree);
    rmSync(join(other, "large"));
  });

  test("adds up several directories, with hard links between them once and without those that are missing", async () => {
    sh('mkdir -p "$1/a" "$1/b/c"; cd "$1"; head -c 100000 /dev/zero > a/file; ln a/file b/c/hard');
    const [a, b, gone] = ["a", "b", "gone"].map((name) => join(tree, name));
    assert.ok(a !== undefined && b !== undefined && gone !== undefined);
    const both = await diskUsage(a, gone, b, gone);
    const [one, all] = [await diskUsage(a), await diskUsage(tree)];
    assert.equal(one.inodes, 2n);
    assert.equal(both.inodes, 4n);
    assert.equal(both.inodes, all.inodes - 1n);
    assert.deepEqual(await diskUsage(a, gone), one);
    await assert.rejects(diskUsage(gone, a), (error) => isKind(error, "not-found"));
    await assert.rejects(diskUsage(a, join(a, "file")), (error) => errnoCode(error) === "ENOTDIR");
    await removeTree(tree);
  });

  test("of what is not there is not found", async () => {
    await assert.rejects(diskUsage(tree), (error) => isKind(error, "not-found"));
  });
});

describe("syncFileSystem()", () => {
  test("waits for the disk, and names the path in an error", async () => {
    await using directory = await open(other);
    await syncFileSystem(directory.fd, other);
    await assert.rejects(syncFileSystem(-1, other), /syncfs ".*": EBADF/);
  });
});
