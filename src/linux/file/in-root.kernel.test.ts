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
import { isKind, RuntimeError } from "../../base/errors.ts";
import { setXattr } from "./native.ts";
import { bindInRoot, copyInRoot, pathInRoot, readFilesInRoot } from "./index.ts";
import { listMounts, unmount } from "../mount/index.ts";
import { errnoCode } from "../../base/system-error.ts";
import { openFds } from "../testing/leaks.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-in-root-"));
after(() => rmSync(dir, { recursive: true }));

let root = "";
let target = "";
let count = 0;

beforeEach(() => {
  const directory = join(dir, String(count++));
  root = join(directory, "root");
  target = join(directory, "target");
  mkdirSync(join(root, "data/sub"), { recursive: true });
  mkdirSync(target);
  writeFileSync(join(root, "data/file"), "inside");
  writeFileSync(join(directory, "secret"), "outside");
  symlinkSync("/data", join(root, "absolute"));
  symlinkSync("../../../../data", join(root, "data/sub/upwards"));
  symlinkSync(directory, join(root, "outside"));
  symlinkSync("loop", join(root, "loop"));
});

const failsWith = (code: string) => (error: unknown) => errnoCode(error) === code;

describe("pathInRoot()", () => {
  test("resolves links inside the root, and keeps missing names", async () => {
    symlinkSync("/proc", join(root, "kernel"));
    symlinkSync("../kernel/self", join(root, "data/self"));
    for (const [path, place] of [
      ["/data/sub", "/data/sub"],
      ["/absolute/file", "/data/file"],
      ["/data/sub/upwards/sub/", "/data/sub"],
      ["/outside", join(dir, basename(join(root, "..")))],
      ["/kernel", "/proc"],
      ["/data/./self/attr", "/proc/self/attr"],
      ["/../../new/directory", "/new/directory"],
      ["/data/file/below", "/data/file/below"],
      ["/", "/"],
    ] as const) {
      assert.equal(await pathInRoot(root, path), place, path);
    }
    await assert.rejects(pathInRoot(root, "/loop"), (error) =>
      isKind(error, "failed-precondition"),
    );
  });

  test("rejects what is too long, without the path of the root", async () => {
    for (const path of [`/${"a".repeat(256)}`, "a/".repeat(2048)]) {
      const doing = pathInRoot(root, path);
      await assert.rejects(
        doing,
        (error: Error) => isKind(error, "invalid-argument") && !error.message.includes(root),
      );
    }
  });
});

describe("readFilesInRoot()", () => {
  const read = async (path: string, maxBytes = 100): Promise<string | undefined> =>
    (await readFilesInRoot(root, [path], maxBytes))[0];

  test("reads several files, also through links that point out of the root", async () => {
    symlinkSync("../../../../../secret", join(root, "data/secret"));
    writeFileSync(join(root, "secret"), "the root's own");
    mkdirSync(join(root, "etc"));
    symlinkSync("/absolute/sub/upwards/file", join(root, "etc/passwd"));
    const paths = ["/data/file", "etc/passwd", "/data/secret", "/../../secret"];
    assert.deepEqual(await readFilesInRoot(root, paths, 100), [
      "inside",
      "inside",
      "the root's own",
      "the root's own",
    ]);
    assert.deepEqual(await readFilesInRoot(root, [], 100), []);
  });

  for (const path of [
    "/nothing",
    "/nothing/file",
    "/data/file/below",
    "/loop",
    "/outside/secret",
  ]) {
    test(`finds nothing at ${path}, and continues`, async () => {
      assert.deepEqual(await readFilesInRoot(root, [path, "/data/file"], 100), [
        undefined,
        "inside",
      ]);
    });
  }

  test("follows 40 links, like the kernel, and not more", async () => {
    symlinkSync("/data/file", join(root, "link-1"));
    for (let number = 2; number <= 41; number++) {
      symlinkSync(`link-${String(number - 1)}`, join(root, `link-${String(number)}`));
    }
    assert.equal(await read("/link-40"), "inside");
    assert.equal(await read("/link-41"), undefined);
  });

  test("finds nothing in a missing root", async () => {
    assert.deepEqual(await readFilesInRoot(join(root, "gone"), ["/data/file"], 100), [undefined]);
  });

  test("equals readFile() for bytes that are not UTF-8, NUL, and large files", async () => {
    const bytes = Buffer.from(
      "\xef\xbb\xbfa\0\xc3\xa4\xc3\xf0\x9f\x98b\xff\xed\xa0\x80\n\xe2\x82",
      "latin1",
    );
    writeFileSync(join(root, "bytes"), bytes);
    assert.equal(await read("/bytes"), bytes.toString("utf8"));
    const large = `${"\u00e4x".repeat(400_000)}\n`;
    writeFileSync(join(root, "large"), large);
    assert.equal(await read("/large", 2_000_000), large);
    writeFileSync(join(root, "empty"), "");
    assert.equal(await read("/empty"), "");
  });

  test("rejects something other than a file without opening it, and leaves no descriptor", async () => {
    execFileSync("mkfifo", [join(root, "fifo")]);
    // No driver has this number: opening it would fail with ENXIO.
    execFileSync("mknod", [join(root, "device"), "c", "4095", "1"]);
    const fds = openFds().size;
    for (const path of ["/data", "/fifo", "/device", "/absolute", "/"]) {
      await assert.rejects(
        readFilesInRoot(root, ["/data/file", path, "/nothing"], 100),
        (error) =>
          error instanceof RuntimeError &&
          isKind(error, "invalid-argument") &&
          error.message === `read "${path}" in the container's root: it is not a file`,
        path,
      );
    }
    assert.equal(openFds().size, fds);
  });

  test("rejects a file that is too large, with both sizes", async () => {
    assert.equal(await read("/data/file", 6), "inside");
    await assert.rejects(read("/data/file", 5), {
      message: `read "/data/file" in the container's root: it has 6 bytes, the limit is 5`,
      kind: "invalid-argument",
    });
  });

  test("reports other errors", async () => {
    symlinkSync("x".repeat(300), join(root, "long"));
    await assert.rejects(read("/long"), failsWith("ENAMETOOLONG"));
  });
});

describe("bindInRoot()", () => {
  for (const path of ["data", "absolute", "data/sub/upwards", "/data/", "../../data"]) {
    test(`mounts ${path} read-only, and stays in the root`, async () => {
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

  test("mounts the root itself for an empty path", async () => {
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
    test(`rejects ${path} with ${code} and mounts nothing`, async () => {
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

    const shape = (directory: string): readonly unknown[] =>
      ["", "file", "big", "deep", "deep/er", "deep/er/same", "link", "null", "fifo", "sub"].map(
        (name) => {
          const { mode, uid, gid, rdev, mtimeMs, nlink } = lstatSync(join(directory, name));
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

  test("preserves many files with two names each", async () => {
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

  test("reports when nothing is there, also behind a link that points out of the root", async () => {
    assert.equal(await copyInRoot(root, "nothing/at/all", target), false);
    assert.equal(await copyInRoot(root, "outside", target), false);
    assert.deepEqual(readdirSync(target), []);
  });

  test("rejects a file", async () => {
    await assert.rejects(copyInRoot(root, "data/file", target), failsWith("ENOTDIR"));
  });

  test("rejects a tree that is too deep, and never loops", async () => {
    mkdirSync(join(root, "data", ...Array.from({ length: 300 }, () => "d")), { recursive: true });
    await assert.rejects(copyInRoot(root, "data", target), failsWith("ELOOP"));
    assert.ok(existsSync(join(target, "d")));
  });
});
