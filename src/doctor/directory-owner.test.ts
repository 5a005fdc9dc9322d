import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lockFile } from "../linux/file/index.ts";
import { readOwner } from "./directory-owner.ts";

test("readOwner() names the process with the lock, and no other one that has its pid by now", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "davit-owner-"));
  t.after(() => rmSync(directory, { recursive: true }));
  // As after a crash: the pid belongs to a process that locks a file of its own.
  writeFileSync(join(directory, "davit.lock"), `${process.pid}\n0.1.0\n`);
  using other = lockFile(join(directory, "other.lock"));
  assert.ok(other !== undefined);
  assert.equal(readOwner(directory), undefined);
  using lock = lockFile(join(directory, "davit.lock"), "0.2.0");
  assert.ok(lock !== undefined);
  assert.deepEqual(readOwner(directory), { pid: process.pid, version: "0.2.0" });
});
