import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { containerSpec } from "./generate.ts";
import { specText } from "./json.ts";
import { goldenRequests } from "./testing/golden-requests.ts";
import { specInput } from "./testing/spec-input.ts";

const directory = join(import.meta.dirname, "testing/golden");

describe("containerSpec() writes the spec of its golden file", () => {
  for (const [name, input] of Object.entries(goldenRequests)) {
    test(name, () => {
      const text = specText(containerSpec(input));
      const file = join(directory, `${name}.json`);
      // GOLDEN=write node --test src/oci-spec, then npm run format and a review of the difference.
      if (process.env["GOLDEN"] === "write") writeFileSync(file, text);
      assert.deepEqual(readExactly(text), readExactly(readFileSync(file, "utf8")));
    });
  }

  test("and no golden file is without its request", () => {
    const files = readdirSync(directory).map((file) => file.replace(/\.json$/, ""));
    assert.deepEqual(files.toSorted(), Object.keys(goldenRequests).toSorted());
  });
});

/** Keeps the text of numbers, so that a rounded one differs. */
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

test("containerSpec() gives a scope of systemd's its swap limit as v2's file has it", () => {
  const memoryOf = (cgroupPath: string, resources: object, cgroupVersion: 1 | 2 = 2) => {
    const input = specInput({ linux: { resources } });
    const host = { ...input.host, cgroupVersion, hasSwapController: true };
    const { memory, unified } = containerSpec({ ...input, cgroupPath, host }).linux.resources;
    return { memory, unified };
  };
  const scope = "kubepods.slice:cri-containerd:c1";
  const limit = 100n;
  const file = (text: string) => ({ memory: { limit }, unified: { "memory.swap.max": text } });
  assert.deepEqual(memoryOf(scope, { memoryLimitInBytes: limit }), file("0"));
  const more = { memoryLimitInBytes: limit, memorySwapLimitInBytes: 150n };
  assert.deepEqual(memoryOf(scope, more), file("50"));
  const any = { memoryLimitInBytes: limit, memorySwapLimitInBytes: -1n };
  assert.deepEqual(memoryOf(scope, any), file("max"));
  const named = { ...more, unified: { "memory.swap.max": "7" } };
  assert.deepEqual(memoryOf(scope, named), file("7"));
  const both = { memory: { limit, swap: 150n }, unified: undefined };
  assert.deepEqual(memoryOf("/kubepods/c1", more), both);
  assert.deepEqual(memoryOf(scope, more, 1), both);
});

test("containerSpec() refuses a root that is not absolute", () => {
  assert.throws(() => containerSpec(specInput({}, { rootfs: "rootfs" })), /not absolute/);
});
