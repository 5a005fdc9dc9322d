import assert from "node:assert/strict";
import { test } from "node:test";
import { failure } from "./testing/failure.ts";
import { mountPoints, mountTmpfs } from "./tmpfs.ts";

test("mountPoints() decodes the fifth field", () => {
  const text =
    "22 1 0:20 / /proc rw,nosuid - proc proc rw\n" +
    "40 1 0:44 / /tmp/a\\040b\\134c rw shared:5 - tmpfs davit rw,size=4k\n";
  assert.deepEqual(mountPoints(text), ["/proc", "/tmp/a b\\c"]);
});

test("mountTmpfs() says where it failed", async () => {
  const error = await failure(mountTmpfs("/nowhere/at all", { sizeBytes: 4096, mode: 0o777 }));
  assert.equal(error.kind, process.geteuid?.() === 0 ? "failed" : "permission");
  assert.match(error.message, /^mount a tmpfs at "\/nowhere\/at all": mount: .+$/);
});
