import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { findCgroupFile, readCgroupFile, tryWriteCgroupFile, writeCgroupFile } from "./files.ts";

const root = mkdtempSync(join(tmpdir(), "davit-cgroup-files-"));
after(() => {
  rmSync(root, { recursive: true });
});

test("readCgroupFile() gives text of any length without the last newline, or an error", async () => {
  const file = join(root, "memory.stat");
  writeFileSync(file, "a 1\nb 2\n");
  assert.equal(await readCgroupFile(file), "a 1\nb 2");
  writeFileSync(file, `${"x".repeat(100_000)}\n`);
  assert.equal((await readCgroupFile(file)).length, 100_000);
  await assert.rejects(readCgroupFile(join(root, "none")), (error) => {
    assert.match(String(error), /read ".*none": no such file/);
    return isKind(error, "not-found");
  });
  assert.equal(await findCgroupFile(join(root, "none")), undefined);
  await assert.rejects(findCgroupFile(root), /read ".*EISDIR/);
});

test("writeCgroupFile() creates no file, and names value and file when it fails", async () => {
  const file = join(root, "pids.max");
  await assert.rejects(writeCgroupFile(file, "7"), (error) => {
    assert.match(String(error), /write "7" to ".*pids.max": no such file/);
    return isKind(error, "not-found");
  });
  assert.equal(await tryWriteCgroupFile(file, "7"), false);
  assert.equal(existsSync(file), false);
  writeFileSync(file, "");
  await writeCgroupFile(file, "7");
  assert.equal(readFileSync(file, "utf8"), "7");
  await assert.rejects(writeCgroupFile("/dev/full", "7"), /write "7" to "\/dev\/full": no space/);
  await assert.rejects(tryWriteCgroupFile(root, "7"), /write "7" to ".*EISDIR/);
});
