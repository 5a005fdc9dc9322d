import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { commands } from "../commands/index.ts";
import { formatReference, formatWords, referenceMark, wordsMark } from "./reference.ts";

const generated = [
  ["cli.md", referenceMark, () => formatReference(commands)],
  ["coming-from.md", wordsMark, formatWords],
] as const;

for (const [name, mark, format] of generated) {
  test(`docs/${name} matches the tables of commands (DAVIT_UPDATE_DOCS=1 writes it)`, () => {
    const file = new URL(`../../../docs/${name}`, import.meta.url);
    const [head = "", ...rest] = readFileSync(file, "utf8").split(`${mark}\n`);
    assert.equal(rest.length, 1, "the mark occurs once");
    const made = `\n${format()}`;
    if (process.env["DAVIT_UPDATE_DOCS"] === "1") writeFileSync(file, `${head}${mark}\n${made}`);
    else assert.equal(rest[0], made);
  });
}
