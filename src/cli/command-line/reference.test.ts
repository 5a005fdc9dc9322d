import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { commands } from "../commands/index.ts";
import { formatReference, referenceMark } from "./reference.ts";

test("docs/cli.md matches the table of commands (DAVIT_UPDATE_DOCS=1 writes it)", () => {
  const file = new URL("../../../docs/cli.md", import.meta.url);
  const [head = "", ...rest] = readFileSync(file, "utf8").split(`${referenceMark}\n`);
  assert.equal(rest.length, 1, "the mark occurs once");
  const made = `\n${formatReference(commands)}`;
  if (process.env["DAVIT_UPDATE_DOCS"] === "1")
    writeFileSync(file, `${head}${referenceMark}\n${made}`);
  else assert.equal(rest[0], made);
});
