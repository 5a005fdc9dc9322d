import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { formatDefaultConfig } from "./format.ts";
import { formatReference } from "./reference.ts";

const written = (file: string): string =>
  readFileSync(join(import.meta.dirname, "../..", file), "utf8");

test("docs/configuration.md matches the schema; if not: npm run generate", () => {
  assert.equal(written("docs/configuration.md"), formatReference());
});

test("packaging/davit.toml matches davit config default; if not: npm run generate", () => {
  assert.equal(written("packaging/davit.toml"), formatDefaultConfig());
});

test("formatReference() has every key with its allowed values", () => {
  const text = formatReference();
  const keys = [...formatDefaultConfig().matchAll(/^(?:# )?([a-z_]+) = /gm)].map(([, key]) => key);
  assert.ok(keys.length > 20);
  for (const key of keys) assert.match(text, new RegExp(`^### \`([a-z_]+\\.)*${key}\`$`, "m"));
  assert.equal(text.match(/^- must be /gm)?.length, text.match(/^- default: /gm)?.length);
});
