import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { type FileStep, runFileSteps, stepsDone } from "./file-steps.ts";
import { listMounts, makePrivateBind, mountTmpfs, unmount } from "../mount/index.ts";
import { SystemError } from "../../base/system-error.ts";
import { openFds } from "../testing/leaks.ts";

const outer = mkdtempSync(join(tmpdir(), "davit-steps-"));
let dir: string;
const at = (name: string): string => join(dir, name);

before(() => makePrivateBind(outer));
after(async () => {
  await unmount(outer);
  rmSync(outer, { recursive: true });
});
let count = 0;
beforeEach(() => {
  dir = join(outer, String(count++));
  mkdirSync(dir);
});
afterEach(() => {
  process.umask(0o022);
});

const facts = (name: string): readonly number[] => {
  const { mode, uid, gid } = statSync(at(name));
  return [mode & 0o7777, uid, gid];
};
const directory = (name: string, mode = 0o755): FileStep => ({
  step: "make-directory",
  path: at(name),
  mode,
});
const write = (name: string, text = "text", mode = 0o644): FileStep => ({
  step: "write-file",
  path: at(name),
  mode,
  text,
});
const append = (name: string, text: string): FileStep => ({
  step: "append-to-file",
  path: at(name),
  mode: 0o600,
  text,
});
const copy = (name: string, from: string): FileStep => ({
  step: "copy-file",
  path: at(name),
  mode: 0o644,
  from: at(from),
});

/** The error of a run that must fail and its completed steps; asserts that it left no descriptor. */
async function failure(steps: readonly FileStep[]): Promise<{
  readonly error: SystemError;
  readonly done: number;
}> {
  const fds = openFds().size;
  try {
    await runFileSteps(steps);
  } catch (error) {
    assert.ok(error instanceof SystemError);
    assert.equal(openFds().size, fds);
    return { error, done: stepsDone(error) };
  }
  return assert.fail("it did not fail");
}

describe("runFileSteps()", () => {
  test("makes everything in order, with the given modes and owners, under any umask", async () => {
    const owner = { uid: 1000, gid: 1001 };
    writeFileSync(at("source"), "x".repeat(40_000));
    for (const mask of [0, 0o022, 0o077, 0o777]) {
      process.umask(mask);
      const fds = openFds().size;
      await runFileSteps([
        { ...directory("a", 0o711), owner } as FileStep,
        directory("a/b", 0o1777),
        write("a/b/plain", "h\u00e4llo\n"),
        { ...write("a/b/owned", "", 0o4750), owner } as FileStep,
        copy("a/b/copy", "source"),
        copy("a/b/none", "gone"),
        append("a/b/notes", "one\n"),
        append("a/b/notes", "two\n"),
      ]);
      assert.equal(openFds().size, fds);
      assert.deepEqual(facts("a"), [0o711, 1000, 1001]);
      assert.deepEqual(facts("a/b"), [0o1777, 0, 0]);
      assert.deepEqual(facts("a/b/plain"), [0o644, 0, 0]);
      assert.deepEqual(facts("a/b/owned"), [0o4750, 1000, 1001]);
      assert.deepEqual(facts("a/b/copy"), [0o644, 0, 0]);
      assert.deepEqual(facts("a/b/notes"), [0o600, 0, 0]);
      const text = (name: string): string => readFileSync(at(`a/b/${name}`), "utf8");
      assert.deepEqual(["plain", "owned", "none", "notes"].map(text), [
        "h\u00e4llo\n",
        "",
        "",
        "one\ntwo\n",
      ]);
      assert.equal(text("copy"), "x".repeat(40_000));
      rmSync(at("a"), { recursive: true });
    }
    await runFileSteps([]);
  });

  test("replaces content, mode and owner of a file, and writes through no link", async () => {
    writeFileSync(at("old"), "long before", { mode: 0o777 });
    chownSync(at("old"), 7, 8);
    await runFileSteps([{ ...write("old", "new", 0o600), owner: { uid: 0, gid: 9 } } as FileStep]);
    assert.deepEqual(facts("old"), [0o600, 0, 9]);
    assert.equal(readFileSync(at("old"), "utf8"), "new");
    symlinkSync(at("old"), at("link"));
    for (const step of [write("link", "through"), append("link", "through"), copy("link", "old")]) {
      assert.equal((await failure([step])).error.code, "ELOOP");
    }
    assert.equal(readFileSync(at("old"), "utf8"), "new");
  });

  test("accepts an existing directory only with mayExist, and makes parents then", async () => {
    await runFileSteps([directory("one", 0o700)]);
    const { error, done } = await failure([write("file"), directory("one"), write("never")]);
    assert.deepEqual([error.code, error.kind, done], ["EEXIST", "already-exists", 1]);
    assert.match(error.message, /^mkdir ".*\/one": already exists \(EEXIST\)$/);
    assert.deepEqual(facts("one"), [0o700, 0, 0]);
    assert.ok(existsSync(at("file")) && !existsSync(at("never")));

    const may = (name: string): FileStep =>
      ({ ...directory(name, 0o751), mayExist: true }) as FileStep;
    await runFileSteps([may("one"), may("x/y/z"), may("x/y/z")]);
    assert.deepEqual(["one", "x/y/z"].map(facts), [
      [0o751, 0, 0],
      [0o751, 0, 0],
    ]);
    assert.equal((await failure([may("file")])).error.code, "EEXIST");
    assert.equal((await failure([may("file/below")])).error.code, "ENOTDIR");
  });

  test("makes a directory like another one, with shifted ids", async () => {
    mkdirSync(at("model"));
    chownSync(at("model"), 5, 6);
    chmodSync(at("model"), 0o3710);
    symlinkSync("model", at("way"));
    process.umask(0o077);
    const like = { step: "make-directory-like", model: at("way") } as const;
    await runFileSteps([
      { ...like, path: at("same") },
      { ...like, path: at("shifted"), shift: { uid: 100_000, gid: 200_000 } },
    ]);
    assert.deepEqual(facts("same"), [0o3710, 5, 6]);
    assert.deepEqual(facts("shifted"), [0o3710, 100_005, 200_006]);
    const { error } = await failure([{ ...like, path: at("odd"), model: at("gone") }]);
    assert.match(error.message, /^stat ".*\/gone": no such file/);
    assert.equal(existsSync(at("odd")), false);
  });

  test("makes a link with any text at a free path", async () => {
    const link: FileStep = { step: "make-link", path: at("link"), target: "no/where" };
    await runFileSteps([link]);
    assert.equal(readlinkSync(at("link")), "no/where");
    const { error, done } = await failure([write("before"), link]);
    assert.deepEqual([error.code, done], ["EEXIST", 1]);
    assert.match(error.message, /^symlink ".*\/link"/);
  });

  test("names a missing file and a path with a NUL byte, and stops", async () => {
    const missing = await failure([directory("a"), write("gone/file"), directory("b")]);
    assert.match(missing.error.message, /^open ".*\/gone\/file": no such file/);
    assert.deepEqual([missing.error.kind, missing.done], ["not-found", 1]);
    assert.ok(existsSync(at("a")) && !existsSync(at("b")));
    assert.match(
      (await failure([directory("gone/b")])).error.message,
      /^mkdir ".*\/gone\/b": no such/,
    );
    assert.match((await failure([copy("file", "a")])).error.message, /^read ".*\/a": EISDIR$/);
    for (const odd of [write("c\0d"), write("c", "te\0xt"), copy("c", "a\0b")]) {
      const { error, done } = await failure([directory("c"), odd]);
      assert.deepEqual([error.code, done], ["EINVAL", 0]);
      assert.equal(existsSync(at("c")), false);
    }
  });

  test("mounts a tmpfs for the steps after it", async () => {
    const options = { sizeBytes: 64 * 1024, inodes: 8, mode: 0o710, gid: 7 };
    const mount: FileStep = { step: "mount-tmpfs", path: at("a"), options };
    await runFileSteps([directory("a"), mount, write("a/file")]);
    const found = (await listMounts()).find(({ mountPoint }) => mountPoint === at("a"));
    assert.deepEqual([found?.fsType, found?.source], ["tmpfs", "tmpfs"]);
    for (const flag of ["nosuid", "nodev", "noexec"]) assert.ok(found?.options.includes(flag));
    assert.deepEqual(facts("a"), [0o710, 0, 7]);
    assert.equal(existsSync(at("a/file")), true);
    await unmount(at("a"));
    assert.equal(existsSync(at("a/file")), false);
    const none: FileStep = { step: "mount-tmpfs", path: at("none"), options };
    const { error, done } = await failure([directory("b"), none]);
    assert.match(error.message, /^mount tmpfs on ".*\/none": no such/);
    assert.equal(done, 1);
  });

  test("reports a full disk, and leaves no partial line", async () => {
    await mountTmpfs(dir, { sizeBytes: 64 * 1024, mode: 0o755 });
    try {
      await runFileSteps([directory("a"), append("a/notes", "one\n")]);
      const big = "x".repeat(100_000);
      const { error, done } = await failure([write("small"), write("big", big), directory("b")]);
      assert.match(error.message, /^write ".*\/big": no space left \(ENOSPC\)$/);
      assert.deepEqual([error.kind, done], ["resource-exhausted", 1]);
      assert.equal(existsSync(at("b")), false);

      assert.ok(isKind((await failure([copy("copy", "big")])).error, "resource-exhausted"));
      for (const name of ["a/notes", "a/other"]) {
        assert.equal((await failure([append(name, big)])).error.code, "ENOSPC");
      }
      assert.equal(readFileSync(at("a/notes"), "utf8"), "one\n");
      assert.equal(existsSync(at("a/other")), false);
    } finally {
      await unmount(dir);
    }
  });
});
