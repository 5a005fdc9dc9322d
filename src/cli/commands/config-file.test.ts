import assert from "node:assert/strict";
import { test } from "node:test";
import { findConfigFile } from "./config-file.ts";

test("findConfigFile() takes the named file, also if it is not there", () => {
  assert.equal(findConfigFile("/no/such.toml"), "/no/such.toml");
});

test("findConfigFile() takes the default file only where there is one", () => {
  const here = import.meta.filename;
  assert.equal(findConfigFile(undefined, here), here);
  assert.equal(findConfigFile(undefined, `${here}.not`), undefined);
});
