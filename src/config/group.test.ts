import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gidOf } from "./group.ts";

test("gidOf() finds a group by its name, and returns a gid unchanged", () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-group-"));
  const file = join(directory, "group");
  try {
    writeFileSync(
      file,
      "root:x:0:\n# no group\nkube:x:1001:ann,ben\nbroken:x:many:\nkube:x:7:\n\n",
    );
    assert.equal(gidOf("root", file), 0);
    assert.equal(gidOf("kube", file), 1001);
    assert.equal(gidOf("4242", file), 4242);
    assert.equal(gidOf("ann", file), undefined);
    assert.equal(gidOf("broken", file), undefined);
    assert.equal(gidOf("", file), undefined);
    assert.equal(gidOf("kube", join(directory, "none")), undefined);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
