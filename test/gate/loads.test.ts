/**
 * Every module of the measured directories loads by itself. For the coverage it means that a module
 * without a test counts as well: Node.js reports only on what a test has loaded.
 */
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { measured } from "../support/coverage.ts";

for (const directory of measured) {
  test(`each module of ${directory} can be loaded`, async () => {
    const files = globSync(`${directory}/**/*.ts`, {
      exclude: [`${directory}/**/*.test.ts`, `${directory}/**/testing/**`],
    });
    assert.ok(files.length > 0, `${directory} holds no module`);
    for (const file of files) await import(pathToFileURL(path.resolve(file)).href);
  });
}
