import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { commands } from "../commands/index.ts";
import type { Command } from "./command.ts";
import { manPages } from "./man.ts";
import { example, paragraphs, roff } from "./roff.ts";

const release = { version: "1.2.3", date: "2026-12-01" };
const pages = manPages(commands, release);

/** Runs a checker of man pages over all of them; undefined if it is not installed. */
function check(pages: ReadonlyMap<string, string>, ...argv: [string, ...string[]]) {
  const directory = mkdtempSync(path.join(tmpdir(), "davit-man-"));
  try {
    for (const [name, text] of pages) {
      mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
      writeFileSync(path.join(directory, name), text);
    }
    const [program, ...args] = argv;
    const options = { cwd: directory, encoding: "utf8" } as const;
    const run = spawnSync(program, [...args, ...pages.keys()], options);
    return run.error === undefined ? { printed: run.stdout, complaints: run.stderr } : undefined;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("each command that is listed has a page, and so have davit and davit.toml", () => {
  const names = commands.filter(({ hidden }) => hidden !== true).map(({ name }) => name);
  const expected = names.map((name) => `man1/davit-${name.replaceAll(" ", "-")}.1`);
  assert.deepEqual([...pages.keys()], ["man1/davit.1", ...expected, "man5/davit.toml.5"]);
});

test("characters with a meaning in roff are printed as they are", () => {
  const text = `.TH \\fB 'it' "a" \`b\` ^~ --all é ✓\n.SH`;
  const source = roff(text);
  assert.equal(
    source,
    "\\&.TH \\efB \\(aqit\\(aq \\(dqa\\(dq \\(gab\\(ga \\(ha\\(ti \\-\\-all \\[u00E9] \\[u2713]\n\\&.SH",
  );
  // A word of a paragraph that begins with a period may begin a line.
  assert.deepEqual(paragraphs(`${"x".repeat(77)} .toml`), ["x".repeat(77), "\\&.toml"]);
  assert.ok(example("does", ".hidden").includes("\\&.hidden"));

  const plain = ".SH \\fB 'it' \"a\" `b` ^~ --all";
  const hostile: Command = {
    name: "odd",
    section: "Images",
    summary: plain,
    details: `x\n${plain}`,
    operands: [],
    options: { odd: { doc: plain } },
    examples: [{ line: plain, does: plain }],
    run: async () => 0,
  };
  const rendered = check(manPages([hostile], release), "mandoc", "-T", "ascii")?.printed;
  if (rendered === undefined) return;
  // Summary in the overview and as the name, details, option, and the example with its line.
  assert.equal(rendered.replaceAll(/.\u0008/g, "").split('it\' "a" `b` ^~ --all').length - 1, 6);
});

test("mandoc has no complaint", (t) => {
  const result = check(pages, "mandoc", "-T", "lint", "-W", "style");
  if (result === undefined) {
    t.skip("mandoc is not installed");
    return;
  }
  // A word that is longer than a line cannot be broken, and other pages need not be installed.
  const complaints = result.printed.split("\n").filter((line) => !/longer than 80|^$/.test(line));
  assert.deepEqual(complaints, []);
});

test("groff has no warning", (t) => {
  const result = check(pages, "groff", "-man", "-ww", "-z", "-K", "utf8");
  if (result === undefined) {
    t.skip("groff is not installed");
    return;
  }
  assert.equal(result.complaints, "");
});
