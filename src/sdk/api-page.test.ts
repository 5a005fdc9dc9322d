import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
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

test("the page has each file of the API", () => {
  const page = apiPage(import.meta.dirname);
  const api = join(import.meta.dirname, "api");
  for (const each of readdirSync(api).filter((name) => !name.endsWith(".test.ts"))) {
    const text = readFileSync(join(api, each), "utf8");
    for (const [, name] of text.matchAll(/^export (?:interface|class|type) (\w+)/gm)) {
      assert.match(page, new RegExp(`^### ${name}$`, "m"), `src/sdk/api/${each}`);
    }
  }
});

test("every part of the API has a doc comment", () => {
  const page = apiPage(import.meta.dirname);
  assert.doesNotMatch(page, /^### \w+\n\n\n/m);
  for (const name of ["run", "apply", "exec", "spawn", "forward", "ended", "events"]) {
    assert.match(page, new RegExp(`^- \`${name}\\(`, "m"));
  }
});
