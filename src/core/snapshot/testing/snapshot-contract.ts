import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { Digest } from "../../../base/digest.ts";
import { isKind } from "../../../base/errors.ts";
import {
  isTooLarge,
  type LayerOrigin,
  type Layers,
  type LayerSource,
  type Roots,
} from "../index.ts";

/** What layers and roots need to be tested. */
export interface SnapshotHarness extends AsyncDisposable {
  readonly layers: Layers;
  readonly roots: Roots;
  /** The blob of a layer with one file of this text. */
  source(text: string): LayerSource;
}

const never = new AbortController().signal;
const wrong: Digest = `sha256:${"0".repeat(64)}`;

/** Tests the promises of {@link Layers} and {@link Roots}, one test each; every implementation runs it. */
export function describeSnapshots(name: string, open: () => Promise<SnapshotHarness>): void {
  describe(`${name} as Layers and Roots`, () => {
    let harness: SnapshotHarness;
    beforeEach(async () => {
      harness = await open();
    });
    afterEach(() => harness[Symbol.asyncDispose]());
    testLayers(() => harness);
    testClaims(() => harness);
    testRoots(() => harness);
  });
}

function originOf({ registry, blob }: LayerSource): LayerOrigin {
  return { registry, digest: blob.digest, sizeBytes: blob.sizeBytes };
}

async function unpack(harness: SnapshotHarness, text: string): Promise<Digest> {
  const source = harness.source(text);
  await harness.layers.unpack(source, never);
  return source.diffId;
}

function testLayers(its: () => SnapshotHarness): void {
  test("unpack() adds a layer with its origin", async () => {
    const { layers } = its();
    const source = its().source("one");
    assert.equal(layers.has(source.diffId), false);
    await layers.unpack(source, never);
    assert.ok(layers.has(source.diffId));
    assert.deepEqual(layers.list(), [source.diffId]);
    assert.ok(layers.hasFrom(source.diffId, originOf(source)));
    const other = { ...originOf(source), registry: "other.test" };
    assert.equal(layers.hasFrom(source.diffId, other), false);
    assert.ok(layers.usage().bytes > 0n);
  });

  test("unpack() of an existing layer adds one more origin", async () => {
    const { layers } = its();
    await unpack(its(), "one");
    const again = { ...its().source("one"), registry: "other.test" };
    await layers.unpack(again, never);
    assert.equal(layers.list().length, 1);
    assert.ok(layers.hasFrom(again.diffId, originOf(again)));
    assert.ok(layers.hasFrom(again.diffId, originOf(its().source("one"))));
  });

  for (const which of ["blob", "diffId"] as const) {
    test(`unpack() with a wrong digest of the ${which} is data-loss and leaves nothing`, async () => {
      const { layers } = its();
      const source = its().source("one");
      const broken =
        which === "blob"
          ? { ...source, blob: { ...source.blob, digest: wrong } }
          : { ...source, diffId: wrong };
      await assert.rejects(layers.unpack(broken, never), (error) => isKind(error, "data-loss"));
      assert.deepEqual(layers.list(), []);
    });
  }

  test("unpack() beyond a limit fails as too large and leaves nothing", async () => {
    const { layers } = its();
    const limits = { bytes: { most: 1, why: "a limit of one byte" } };
    const source = { ...its().source("more than one byte"), limits };
    await assert.rejects(layers.unpack(source, never), (error) => {
      assert.match(String(error), /a limit of one byte/);
      return isTooLarge(error);
    });
    assert.deepEqual(layers.list(), []);
  });

  test("remove() removes a layer at once, and is idempotent", async () => {
    const { layers } = its();
    const diffId = await unpack(its(), "one");
    await layers.remove(diffId);
    assert.equal(layers.has(diffId), false);
    assert.deepEqual(layers.list(), []);
    await layers.remove(diffId);
  });
}

function testClaims(its: () => SnapshotHarness): void {
  test("a layer is unclaimed until an image claims it", async () => {
    const { layers } = its();
    const diffId = await unpack(its(), "one");
    assert.deepEqual([...layers.unclaimed().keys()], [diffId]);
    await layers.claim([diffId]);
    await layers.claim([diffId]);
    assert.equal(layers.unclaimed().size, 0);
  });

  test("lacking() names a missing layer, and none of layers that are completed", async () => {
    const { layers } = its();
    const [one, two] = [await unpack(its(), "one"), await unpack(its(), "two")];
    await layers.complete([one], never);
    assert.equal(layers.lacking([one, wrong]), wrong);
    await layers.complete([one, two], never);
    await layers.complete([one, two], never);
    assert.equal(layers.lacking([one, two]), undefined);
  });
}

function testRoots(its: () => SnapshotHarness): void {
  test("mount() mounts a root of completed layers, remove() removes it and is idempotent", async () => {
    const { layers, roots } = its();
    const diffId = await unpack(its(), "one");
    await layers.complete([diffId], never);
    const { path } = await roots.mount("c1", [diffId]);
    assert.equal(path, roots.pathOf("c1"));
    await roots.remove("c1");
    await roots.remove("c1");
    await roots.mount("c1", [diffId]);
    await roots.remove("c1");
  });

  test("mount() of a missing layer is not-found", async () => {
    const { roots } = its();
    await assert.rejects(roots.mount("c1", [wrong]), (error) => isKind(error, "not-found"));
    await roots.remove("c1");
  });

  test("sweep() removes the roots of unknown containers only", async () => {
    const { layers, roots } = its();
    const diffId = await unpack(its(), "one");
    await layers.complete([diffId], never);
    await roots.mount("known", [diffId]);
    await roots.mount("lost", [diffId]);
    const lines = await roots.sweep(new Set(["known"]));
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /lost/);
    assert.deepEqual(await roots.sweep(new Set(["known"])), []);
    await roots.remove("known");
  });
}
