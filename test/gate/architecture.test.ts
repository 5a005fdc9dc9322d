import assert from "node:assert/strict";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";

const repo = path.resolve(import.meta.dirname, "../..");
const text = readFileSync(path.join(repo, "ARCHITECTURE.md"), "utf8");

/** The paths below src/, or of the repository, that the document names in backticks. */
function namedPaths(): readonly string[] {
  const named = [...text.matchAll(/`([a-z][\w-]*(?:\/[\w*.{},-]+)+)\/?`/g)].map(([, name]) => name);
  return [...new Set(named.filter((name) => name !== undefined))];
}

const buildScript = readFileSync(path.join(repo, "scripts/build.sh"), "utf8");

function exists(name: string): boolean {
  // The gate runs without a build.
  if (name.startsWith("dist/")) return buildScript.includes(name);
  return [name, `src/${name}`].some((each) =>
    each.includes("*")
      ? globSync(path.join(repo, each)).length > 0
      : existsSync(path.join(repo, each)),
  );
}

describe("ARCHITECTURE.md", () => {
  test("names only files and directories that exist", () => {
    const paths = namedPaths();
    assert.ok(paths.length > 40, `found only ${paths.length} paths`);
    assert.deepEqual(
      paths.filter((name) => !exists(name)),
      [],
    );
  });

  test("has a row for every layer and every driver", async () => {
    const { layers } = (await import(path.join(repo, "layers.mjs"))) as { layers: object };
    const drivers = readdirSync(path.join(repo, "src/drivers"));
    const missing = [
      ...Object.keys(layers).filter((layer) => !text.includes(`| \`${layer}/\` |`)),
      ...drivers.filter((driver) => !new RegExp(`^\\|.*\`${driver}\`.*\\|`, "m").test(text)),
    ];
    assert.deepEqual(missing, []);
  });
});
