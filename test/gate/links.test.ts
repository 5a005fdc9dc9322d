/** Links between the documents lead to files and headings that exist, and docs/README.md lists all documents. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const repo = path.resolve(import.meta.dirname, "../..");
const documents = globSync(["*.md", "{docs,bench,test}/**/*.md"], {
  cwd: repo,
  exclude: (name) => name === "node_modules" || name === "out",
});

const read = (file: string): string => readFileSync(path.join(repo, file), "utf8");

/** Targets of links outside of code blocks, without those to other hosts. */
function linksOf(text: string): readonly string[] {
  const prose = text.replace(/^```[^]*?^```$/gm, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = ""]) => target)
    .filter((target) => !/^[a-z]+:/.test(target));
}

/** The anchors of a document's headings, as forges make them. */
function anchorsOf(text: string): ReadonlySet<string> {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

for (const file of documents) {
  test(`the links of ${file} lead somewhere`, () => {
    for (const link of linksOf(read(file))) {
      const [name = "", anchor] = link.split("#");
      const target = name === "" ? file : path.join(path.dirname(file), name);
      assert.ok(existsSync(path.join(repo, target)), `there is no "${target}" (link "${link}")`);
      if (anchor !== undefined) {
        assert.ok(anchorsOf(read(target)).has(anchor), `"${target}" has no heading "#${anchor}"`);
      }
    }
  });
}

test("docs/README.md lists every document of docs/", () => {
  const listed = linksOf(read("docs/README.md")).map((link) => path.join("docs", link));
  const unlisted = documents.filter(
    (file) => /^docs\/[^/]+\.md$/.test(file) && file !== "docs/README.md" && !listed.includes(file),
  );
  assert.deepEqual(unlisted, []);
});
