/** What a check finds when files of layers are missing or were changed on the disk. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";

import { type Digest, hexOf } from "../../base/digest.ts";
import type { LayerProblem } from "../../core/snapshot/index.ts";
import { COPY_UP_PREFIX } from "./state-layout.ts";
import { TestOverlay } from "./testing/layers.ts";

const never = new AbortController().signal;
const directory = mkdtempSync(join(tmpdir(), "davit-check-"));
let fixture: TestOverlay;
let count = 0;
let lower: Digest;
let upper: Digest;

beforeEach(async () => {
  fixture = await TestOverlay.open(join(directory, `root-${count++}`));
  lower = await fixture.layer({ name: "file", data: "content" }, { name: "below", data: "x" });
  upper = await fixture.layer(
    { name: "top", data: "top" },
    { name: "link", type: "1", linkName: "below" },
  );
  await fixture.layers.complete([lower, upper], never);
});
afterEach(() => fixture[Symbol.asyncDispose]());
after(() => rmSync(directory, { recursive: true }));

async function check(deep = false): Promise<readonly LayerProblem[]> {
  const problems: LayerProblem[] = [];
  for await (const each of fixture.checker.check([lower, upper], { deep }, never)) {
    problems.push(each);
  }
  return problems;
}

const pathIn = (layer: Digest, ...path: readonly string[]): string =>
  join(fixture.root, "layers", hexOf(layer), ...path);

describe("a check of layers", () => {
  test("finds nothing in layers as they were unpacked", async () => {
    assert.deepEqual(await check(), []);
    assert.deepEqual(await check(true), []);
    assert.deepEqual(await check(true), []);
  });

  test("finds a missing file, and a layer without files or without facts", async () => {
    unlinkSync(pathIn(lower, "fs", "file"));
    const [problem] = await check();
    assert.equal(problem?.layer, lower);
    assert.match(problem.problem, /has 2 files and directories; it had 3 when it was unpacked/);
    rmSync(pathIn(lower, "fs"), { recursive: true });
    assert.match((await check())[0]?.problem ?? "", /fs" is missing/);
    writeFileSync(pathIn(lower, "layer.json"), "{");
    assert.match((await check())[0]?.problem ?? "", /cannot be read/);
    await fixture.layers.remove(upper);
    assert.deepEqual(
      (await check()).map(({ layer }) => layer),
      [lower, upper],
    );
  });

  test("finds a changed file only if it is deep, from the second time on", async () => {
    assert.deepEqual(await check(true), []);
    writeFileSync(pathIn(lower, "fs", "file"), "CONTENT");
    assert.deepEqual(await check(), []);
    const [problem] = await check(true);
    assert.equal(problem?.layer, lower);
    assert.match(problem.problem, /are not those of the last deep check/);
  });

  test("finds that files which a layer shares with lower ones are missing", async () => {
    const layers = join(fixture.root, "layers");
    const [shared = ""] = readdirSync(layers).filter((name) => name.startsWith(COPY_UP_PREFIX));
    rmSync(join(layers, shared), { recursive: true });
    const [problem] = await check();
    assert.equal(problem?.layer, upper);
    assert.match(problem.problem, /which it shares with layers below, is missing/);
    await fixture.layers.remove(upper);
  });
});
