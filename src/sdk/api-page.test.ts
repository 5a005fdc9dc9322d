import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { apiPage } from "./testing/api-page.ts";

const file = join(import.meta.dirname, "../../docs/sdk-api.md");

test("docs/sdk-api.md is current", () => {
  const page = apiPage(import.meta.dirname);
  if (process.env["DAVIT_UPDATE_DOCS"] === "1") writeFileSync(file, page);
  assert.equal(
    readFileSync(file, "utf8"),
    page,
    "DAVIT_UPDATE_DOCS=1 node --test src/sdk/api-page.test.ts",
  );
});

test("every part of the API has a doc comment", () => {
  const page = apiPage(import.meta.dirname);
  assert.doesNotMatch(page, /^### \w+\n\n\n/m);
  for (const name of ["run", "apply", "exec", "spawn", "forward", "ended", "events"]) {
    assert.match(page, new RegExp(`^- \`${name}\\(`, "m"));
  }
});
