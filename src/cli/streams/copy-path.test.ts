import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCopyPath } from "./copy-path.ts";

test("parseCopyPath() distinguishes containers from local paths", () => {
  assert.deepEqual(parseCopyPath("web:/etc"), { container: "web", path: "/etc" });
  assert.deepEqual(parseCopyPath("default/web/c:a:b"), {
    container: "default/web/c",
    path: "a:b",
  });
  for (const path of ["file", "./a:b", "/a:b", "."]) {
    assert.deepEqual(parseCopyPath(path), { container: undefined, path });
  }
  for (const text of ["", ":", "web:", ":/etc"]) assert.equal(parseCopyPath(text), undefined);
});
