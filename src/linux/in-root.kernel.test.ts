import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { setXattr } from "./entries.ts";
import { bindInRoot, copyInRoot } from "./in-root.ts";
import { listMounts, unmount } from "./mounts.ts";
import { errnoCode } from "./system-error.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-in-root-"));
after(() => rmSync(dir, { recursive: true }));

let root = "";
let target = "";
let count = 0;

beforeEach(() => {
  const folder = join(dir, String(count++));
  root = join(folder, "root");
  target = join(folder, "target");
  mkdirSync(join(root, "data/sub"), { recursive: true });
  mkdirSync(target);
  writeFileSync(join(root, "data/file"), "inside");
  writeFileSync(join(folder, "secret"), "outside");
  symlinkSync("/data", join(root, "absolute"));
  symlinkSync("../../../../data", join(root, "data/sub/upwards"));
  symlinkSync(folder, join(root, "outside"));
  symlinkSync("loop", join(root, "loop"));
});

const failsWith = (code: string) => (error: unknown) => errnoCode(error) === code;

describe("bindInRoot()", () => {
  for (const path of ["data", "absolute", "data/sub/upwards", "/data/", "../../data"]) {
    test(`mounts ${path}, read-only, and stays in the root`, async () => {
      await bindInRoot(root, path, target);
      try {
        assert.equal(readFileSync(join(target, "file"), "utf8"), "inside");
        assert.throws(() => {
          writeFileSync(join(target, "new"), "");
        }, failsWith("EROFS"));
        const mount = (await listMounts()).find(({ mountPoint }) => mountPoint === target);
        assert.deepEqual(mount?.propagation, []);
      } finally {
        await unmount(target);
      }
      writeFileSync(join(root, "data/new"), "the source is writable as before");
    });
  }

  test("of an empty path mounts the root itself", async () => {
    await bindInRoot(root, "", target);
    assert.equal(readFileSync(join(target, "data/file"), "utf8"), "inside");
    await unmount(target);
  });

  for (const [path, code] of [
    ["nothing", "ENOENT"],
    ["data/file", "ENOTDIR"],
    ["outside", "ENOENT"],
    ["loop", "ELOOP"],
  ] as const) {
    test(`refuses ${path} with ${code} and mounts nothing`, async () => {
      await assert.rejects(bindInRoot(root, path, target), failsWith(code));
      assert.ok(!(await listMounts()).some(({ mountPoint }) => mountPoint === target));
    });
  }
});

describe("copyInRoot()", () => {
  const xattrs = (path: string): readonly string[] => {
    const options = ["--format=pax", "--xattrs", "--xattrs-include=*", "--no-recursion", "-c"];
    const tar = execFileSync("tar", [...options, "-C", dirname(path), basename(path)]);
    return (tar.toString("latin1").match(/SCHILY\.xattr\.[^\n]*/g) ?? []).toSorted();
  };

  test("copies files, links, nodes, owners, modes, times and attributes", async () => {
    const at = (name: string): string => join(root, "data", name);
    mkdirSync(at("deep/er"), { recursive: true });
    writeFileSync(at("big"), Buffer.alloc(1_000_000, "x"));
    linkSync(at("big"), at("deep/er/same"));
    symlinkSync("/etc/passwd", at("link"));
    execFileSync("mknod", [at("null"), "c", "1", "3"]);
    execFileSync("mkfifo", [at("fifo")]);
    setXattr(at("big"), "trusted.kept", "yes");
    setXattr(at("deep"), "user.kept", "too");
    setXattr(at("deep"), "trusted.overlay.opaque", "y");
    chownSync(at("big"), 1000, 1001);
    chmodSync(at("big"), 0o6755);
    chownSync(at("deep/er"), 7, 8);
    chmodSync(at("deep/er"), 0o1777);
    chownSync(join(root, "data"), 65534, 65533);
    chmodSync(join(root, "data"), 0o750);
    utimesSync(at("deep"), 1, 2);
    assert.equal(await copyInRoot(root, "absolute", target), true);

    const shape = (folder: string): readonly unknown[] =>
      ["", "file", "big", "deep", "deep/er", "deep/er/same", "link", "null", "fifo", "sub"].map(
        (name) => {
          const { mode, uid, gid, rdev, mtimeMs, nlink } = lstatSync(join(folder, name));
          return { name, mode, uid, gid, rdev, mtimeMs, nlink };
        },
      );
    assert.deepEqual(shape(target), shape(join(root, "data")));
    assert.deepEqual(readdirSync(target).toSorted(), readdirSync(join(root, "data")).toSorted());
    assert.equal(readFileSync(join(target, "deep/er/same"), "latin1"), "x".repeat(1_000_000));
    assert.equal(statSync(join(target, "big")).ino, statSync(join(target, "deep/er/same")).ino);
    assert.equal(readlinkSync(join(target, "link")), "/etc/passwd");
    assert.deepEqual(xattrs(join(target, "big")), ["SCHILY.xattr.trusted.kept=yes"]);
    assert.deepEqual(xattrs(join(target, "deep")), ["SCHILY.xattr.user.kept=too"]);
  });

  test("keeps apart many files that have two names each", async () => {
    const names = Array.from({ length: 500 }, (_none, index) => String(index));
    for (const name of names) {
      writeFileSync(join(root, "data", name), name);
      linkSync(join(root, "data", name), join(root, "data/sub", name));
    }
    assert.equal(await copyInRoot(root, "data", target), true);
    for (const name of names) {
      const [one, other] = [join(target, name), join(target, "sub", name)];
      assert.equal(readFileSync(other, "utf8"), name);
      assert.equal(statSync(one).ino, statSync(other).ino);
    }
  });

  test("tells when nothing is there, also behind a link that leads out of the root", async () => {
    assert.equal(await copyInRoot(root, "nothing/at/all", target), false);
    assert.equal(await copyInRoot(root, "outside", target), false);
    assert.deepEqual(readdirSync(target), []);
  });

  test("refuses a file", async () => {
    await assert.rejects(copyInRoot(root, "data/file", target), failsWith("ENOTDIR"));
  });

  test("refuses a tree that is too deep, and never loops", async () => {
    mkdirSync(join(root, "data", ...Array.from({ length: 300 }, () => "d")), { recursive: true });
    await assert.rejects(copyInRoot(root, "data", target), failsWith("ELOOP"));
    assert.ok(existsSync(join(target, "d")));
  });
});
