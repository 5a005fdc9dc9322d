import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseFromBelow } from "./from-below.ts";

describe("parseFromBelow()", () => {
  test("parses the report of an unpacker, and nothing", () => {
    const value = { links: [{ path: "/a/b\n\xff", target: "/..." }], directories: ["/a", "/a/b"] };
    assert.deepEqual(parseFromBelow(structuredClone(value)), value);
    assert.equal(parseFromBelow(undefined), undefined);
  });

  for (const path of [
    "",
    "/",
    "a",
    "/a/",
    "//a",
    "/.",
    "/a/../b",
    "/a/./b",
    "/a\0",
    "/\u0100",
    7,
  ]) {
    test(`refuses the path ${JSON.stringify(path)}`, () => {
      for (const value of [
        { links: [], directories: ["/a", path] },
        { links: [{ path, target: "/a" }], directories: [] },
        { links: [{ path: "/a", target: path }], directories: [] },
      ]) {
        assert.throws(() => parseFromBelow(value), /does not list/);
      }
    });
  }

  for (const value of [null, [], {}, { links: [] }, { links: [null], directories: [] }, "x"]) {
    test(`refuses ${JSON.stringify(value)}`, () => {
      assert.throws(() => parseFromBelow(value), /does not list/);
    });
  }
});
