/** Every test that the documents about security name exists, and every attack is in the table of attacks. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const repo = path.resolve(import.meta.dirname, "../..");
const read = (file: string): string => readFileSync(path.join(repo, file), "utf8");
const attacks = readdirSync(path.join(repo, "test/attacks")).filter((name) =>
  /\.(test|slow)\.ts$/.test(name),
);

/** The files in backticks: paths in this repository that end in `.ts`. */
function namedIn(document: string): readonly string[] {
  return [...read(document).matchAll(/`([\w./-]+\.ts)`/g)].map(([, name = ""]) => name);
}

for (const document of ["SECURITY.md", "docs/security.md", "docs/hardening.md"]) {
  test(`the tests that ${document} names exist`, () => {
    for (const name of namedIn(document)) {
      assert.ok(existsSync(path.join(repo, name)), `${document} names "${name}", which is missing`);
    }
  });
}

test("the tests that the table of attacks names exist, and each attack is in it", () => {
  const table = read("test/attacks/README.md");
  const short = [...table.matchAll(/`([a-z]\d\d)(?:-\*)?`/g)].map(([, name = ""]) => name);
  for (const name of short) {
    assert.ok(
      attacks.some((file) => file.startsWith(`${name}-`)),
      `the table names "${name}", which is missing`,
    );
  }
  const missing = attacks.filter((file) => !short.includes(file.slice(0, 3)));
  assert.deepEqual(missing, [], "these are not in the table");
  for (const name of namedIn("test/attacks/README.md")) {
    assert.ok(existsSync(path.join(repo, name)), `the table names "${name}", which is missing`);
  }
});

test("docs/security.md names every quick attack", () => {
  const named = namedIn("docs/security.md");
  const missing = attacks
    .map((file) => `test/attacks/${file}`)
    .filter((file) => file.endsWith(".test.ts") && !named.includes(file));
  assert.deepEqual(missing, [], "add them to the tables");
});
