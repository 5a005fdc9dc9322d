import assert from "node:assert/strict";
import { test } from "node:test";
import { findConfigFile } from "./config-file.ts";

test("findConfigFile() returns the named file, even if it does not exist", () => {
  assert.equal(findConfigFile("/no/such.toml"), "/no/such.toml");
});

test("findConfigFile() returns the default file only if it exists", () => {
  const here = import.meta.filename;
  assert.equal(findConfigFile(undefined, here), here);
  assert.equal(findConfigFile(undefined, `${here}.not`), undefined);
});
