import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { makePodsDirectory } from "./pods-directory.ts";

const scratch = mkdtempSync(join(tmpdir(), "davit-pods-directory-"));
after(() => rmSync(scratch, { recursive: true }));

const modeOf = (path: string): number => statSync(path).mode & 0o7777;

/** A directory with this mode, whatever the umask is. */
function directory(name: string, mode: number): string {
  const path = join(scratch, name);
  mkdirSync(path);
  chmodSync(path, mode);
  return path;
}

test("makePodsDirectory() makes it closed to others", async () => {
  const path = join(scratch, "a/b");
  await makePodsDirectory(path);
  assert.equal(modeOf(path) & 0o007, 0);
  assert.equal(modeOf(path) & 0o700, 0o700);
});

test("makePodsDirectory() closes davit's own, and leaves the bits of owner and group", async () => {
  for (const [name, before, wanted] of [
    ["usual", 0o755, 0o750],
    ["group", 0o2775, 0o2770],
    ["strict", 0o700, 0o700],
  ] as const) {
    const own = directory(name, before);
    await makePodsDirectory(own, own);
    assert.equal(modeOf(own), wanted);
  }
});

test("makePodsDirectory() changes no directory that was named, and none behind a link", async () => {
  const named = directory("named", 0o755);
  await makePodsDirectory(named, join(scratch, "usual"));
  assert.equal(modeOf(named), 0o755);
  const link = join(scratch, "link");
  symlinkSync(named, link);
  await makePodsDirectory(link, link);
  assert.equal(modeOf(named), 0o755);
});
