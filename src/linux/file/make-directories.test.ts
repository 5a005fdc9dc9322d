import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { makeDirectories } from "./make-directories.ts";

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "davit-directories-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test("makeDirectories() makes what is missing, and leaves what exists", async (t) => {
  const root = directory(t);
  const path = join(root, "a/b/c");
  await makeDirectories(path);
  await makeDirectories(path);
  assert.ok(statSync(path).isDirectory());
  writeFileSync(join(root, "file"), "text");
  await makeDirectories(join(root, "file"));
  assert.equal(statSync(join(root, "file")).size, 4);
  await makeDirectories("/");
});

test("makeDirectories() makes directories that several callers need at once", async (t) => {
  const root = directory(t);
  const names = ["a/b/c", "a/b/d", "a/b/c", "a/e"].map((name) => join(root, name));
  await Promise.all(names.map(makeDirectories));
  for (const name of names) assert.ok(statSync(name).isDirectory());
});

test("makeDirectories() rejects where no directory can be made, in /proc, too", async (t) => {
  const root = directory(t);
  writeFileSync(join(root, "file"), "");
  symlinkSync("gone", join(root, "link"));
  for (const [path, code] of [
    ["/proc/davit-missing", "ENOENT"],
    ["/proc/davit-missing/below", "ENOENT"],
    [join(root, "file/below"), "ENOTDIR"],
    [join(root, "link/below"), "ENOENT"],
  ] as const) {
    await assert.rejects(makeDirectories(path), { code }, path);
  }
});
