import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { findProgram } from "./child.ts";

describe("findProgram()", () => {
  test("finds the first program in absolute directories, and does not change a path", () => {
    assert.equal(findProgram("sh", "/nowhere:/bin:/usr/bin"), "/bin/sh");
    assert.equal(findProgram("./x", "/bin"), "./x");
    assert.equal(findProgram("sh", "bin:."), undefined);
    assert.equal(findProgram("passwd", "/etc"), undefined, "a file without execute permission");
    assert.equal(findProgram("etc", "/"), undefined, "a directory");
    assert.equal(findProgram("", "/bin"), undefined);
  });
});
