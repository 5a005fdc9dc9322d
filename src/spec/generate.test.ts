import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { containerSpec } from "./generate.ts";
import { specText } from "./json.ts";
import { goldenRequests } from "./testing/golden-requests.ts";
import { specInput } from "./testing/spec-input.ts";

const folder = join(import.meta.dirname, "testing/golden");

describe("containerSpec() writes the spec of its golden file", () => {
  for (const [name, input] of Object.entries(goldenRequests)) {
    test(name, () => {
      const text = specText(containerSpec(input));
      const file = join(folder, `${name}.json`);
      // GOLDEN=write node --test src/spec, then npm run format and a look at the difference.
      if (process.env["GOLDEN"] === "write") writeFileSync(file, text);
      assert.deepEqual(readExactly(text), readExactly(readFileSync(file, "utf8")));
    });
  }

  test("and no golden file is without its request", () => {
    const files = readdirSync(folder).map((file) => file.replace(/\.json$/, ""));
    assert.deepEqual(files.toSorted(), Object.keys(goldenRequests).toSorted());
  });
});

/** Keeps numbers as they are written, so that a rounded one differs. */
function readExactly(text: string): unknown {
  const asWritten = (
    _key: string,
    value: unknown,
    context?: { readonly source?: string },
  ): unknown => (typeof value === "number" ? `number ${context?.source ?? ""}` : value);
  return JSON.parse(text, asWritten);
}

test("containerSpec() is a pure function: the same input gives the same text and stays as it was", () => {
  for (const input of Object.values(goldenRequests)) {
    const before = structuredClone({ ...input, config: input.config });
    assert.equal(specText(containerSpec(input)), specText(containerSpec(input)));
    assert.deepEqual(structuredClone({ ...input, config: input.config }), before);
  }
});

test("containerSpec() takes the updated resources before those of the config", () => {
  const updated = specInput({ linux: { resources: { cpuShares: 77n, oomScoreAdj: 5n } } });
  const input = specInput(
    { linux: { resources: { cpuShares: 11n, oomScoreAdj: 900n } } },
    { resources: updated.config.linux?.resources },
  );
  const spec = containerSpec(input);
  assert.equal(spec.linux.resources.cpu?.shares, 77n);
  assert.equal(spec.process.oomScoreAdj, 5);
});

test("containerSpec() refuses a root that is not absolute", () => {
  assert.throws(() => containerSpec(specInput({}, { rootfs: "rootfs" })), /not absolute/);
});
