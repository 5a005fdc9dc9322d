import assert from "node:assert/strict";
import { test } from "node:test";

import { captureDirectory, idOfExitFile, monitoredId, runsCommand } from "./orphans.ts";

test("monitoredId() recognizes a conmon of this state by its command line, and no other", () => {
  const id = "0a".repeat(32);
  const args = ["/usr/bin/conmon", "--cid", id, "--exit-dir", "/run/davit/exits", ""];
  assert.equal(monitoredId(args, "/run/davit/exits"), id);
  assert.equal(monitoredId(args, "/run/other/exits"), undefined);
  // A container may have such a command line, and the id becomes part of paths.
  for (const cid of ["../../victim", "abc", `${id}/..`, ""]) {
    const other = ["sh", "--exit-dir", "/run/davit/exits", "--cid", cid];
    assert.equal(monitoredId(other, "/run/davit/exits"), undefined);
  }
  assert.equal(monitoredId(["/usr/bin/conmon", "--exit-dir"], "/run/davit/exits"), undefined);
  assert.equal(monitoredId([""], "/run/davit/exits"), undefined);
});

test("runsCommand() recognizes an exec of this state, and no other verb or state", () => {
  const args = ["crun", "--root", "/r", "exec", "--process", "/e/a.json", "--pid-file", "/e/a.pid"];
  assert.equal(runsCommand(args, "/e"), true);
  assert.equal(runsCommand(args, "/other"), false);
  assert.equal(runsCommand(["crun", "create", "--pid-file", "/e/a.pid"], "/e"), false);
  assert.equal(runsCommand(["crun", "exec", "--pid-file"], "/e"), false);
});

test("idOfExitFile() returns the id of a file that conmon has not renamed yet, too", () => {
  assert.equal(idOfExitFile("abc"), "abc");
  assert.equal(idOfExitFile("abc.GO6DZ3"), "abc");
});

test("captureDirectory() recognizes a capture of this state, and no other verb or state", () => {
  const args = [
    "crun",
    "--root",
    "/s/crun",
    "checkpoint",
    "--image-path=/w/i",
    "--work-path=/w",
    "a",
  ];
  assert.equal(captureDirectory(args, "/s"), "/w");
  assert.equal(captureDirectory(args, "/other"), undefined);
  assert.equal(captureDirectory(["crun", "--root", "/s/crun", "delete", "a"], "/s"), undefined);
  assert.equal(captureDirectory(["checkpoint", "--work-path=/w"], "/s"), undefined);
});
