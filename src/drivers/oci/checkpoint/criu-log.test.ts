import assert from "node:assert/strict";
import { test } from "node:test";
import { endsAtLock } from "./criu-log.ts";

const lock = "(00.031234)      7: (flock)flag: 2, type: 1, cmd: 2, pid: 7, fd: 3";
const posix =
  "(00.031234)      7: (posix)flag: 1, type: 1, pid: 7, fd: 4, start:        a, len:        5";

test("endsAtLock() is true for a process whose last line is about a lock that CRIU waits for", () => {
  const before = "(00.030000)      7: Restoring fdinfo";
  const other = "(00.040000)      1: Restoring fs";
  for (const line of [lock, posix]) {
    assert.equal(endsAtLock(`${before}\n${line}\n${other}\n(00.050000) Waiting\n`), true);
    assert.equal(endsAtLock(`${line}\n(00.032000)      7: the next step\n${other}\n`), false);
  }
  assert.equal(endsAtLock(""), false);
  // A name in a line is the container's.
  assert.equal(endsAtLock("(00.031234)      7: path /(flock)flag: 2\n"), false);
});
