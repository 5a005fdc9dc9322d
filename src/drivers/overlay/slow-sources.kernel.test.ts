import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";

import { hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { childPids, openFds, until } from "../../linux/testing/leaks.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { sourceOf, TestOverlay } from "./testing/layers.ts";

const never = new AbortController().signal;
const directory = mkdtempSync(join(tmpdir(), "davit-slow-"));
let fixture: TestOverlay;
let count = 0;
/** Those of the current test: one that fails must not wait for them forever. */
const slowLayers = new Set<{ release(): void }>();

beforeEach(async () => {
  fixture = await TestOverlay.open(join(directory, `root-${count++}`), {
    turns: { graceMs: 0, smallBytes: 0 },
  });
});
afterEach(async () => {
  for (const layer of slowLayers) layer.release();
  slowLayers.clear();
  await fixture[Symbol.asyncDispose]();
  assert.deepEqual(childPids(), []);
});
after(() => rmSync(directory, { recursive: true }));

/** A layer whose bytes arrive one by one, until it is released: then the rest arrives at once. */
class SlowLayer {
  readonly source: LayerSource;
  readonly #rest = Promise.withResolvers<undefined>();

  constructor(registry: string) {
    const tar = buildTar([{ name: "file", data: `slow ${count++}` }]);
    this.source = { ...sourceOf(tar), registry, chunks: this.#chunks(tar) };
    slowLayers.add(this);
  }

  release(): void {
    this.#rest.resolve(undefined);
  }

  async *#chunks(tar: Buffer): AsyncGenerator<Buffer> {
    yield tar.subarray(0, 1);
    yield tar.subarray(1, 2);
    await this.#rest.promise;
    yield tar.subarray(2);
  }
}

/** Begins to unpack layers; resolves when each has all that it can have, and gives how they end. */
async function unpackSlowly(
  layers: readonly SlowLayer[],
  unpackers: number,
  signal = never,
): Promise<{ readonly ended: Promise<void> }> {
  const calls = layers.map(({ source }) => fixture.layers.unpack(source, signal));
  const ended = Promise.allSettled(calls).then((results) => {
    for (const result of results) if (result.status === "rejected") throw result.reason;
  });
  ended.catch(() => undefined);
  await until(`${unpackers} unpackers run`, () => childPids().length === unpackers);
  return { ended };
}

/** Files without a name that lie in the directory of the layers. Those of the layers themselves have one. */
function spooled(): readonly string[] {
  const layers = join(fixture.root, "layers");
  return [...openFds(process.pid).values()].filter(
    (path) => path.startsWith(layers) && path.endsWith(" (deleted)"),
  );
}

describe("layers whose sources have no bytes", () => {
  test("delay no layer of another registry, and none that is small in the same one", async () => {
    const slow = Array.from({ length: 6 }, () => new SlowLayer("slow.test"));
    const { ended } = await unpackSlowly(slow, 3);
    await until("the others are kept in files", () => spooled().length === 3);
    await fixture.layer({ name: "of-another-registry" });
    const same = sourceOf(buildTar([{ name: "of-the-same-registry" }]));
    await fixture.layers.unpack({ ...same, registry: "slow.test" }, never);
    for (const layer of slow) layer.release();
    await ended;
    for (const { source } of slow) assert.ok(fixture.layers.has(source.diffId));
    assert.deepEqual(spooled(), []);
  });

  test("of many registries delay no layer, and have few unpackers", async () => {
    const slow = Array.from({ length: 20 }, (_, at) => new SlowLayer(`slow-${at}.test`));
    const { ended } = await unpackSlowly(slow, 8);
    await until("the others are kept in files", () => spooled().length === 12);
    const data = Buffer.alloc(3_000_000, "content");
    const diffId = await fixture.layer({ name: "large", data });
    const path = join(fixture.root, "layers", hexOf(diffId), "fs/large");
    assert.ok(readFileSync(path).equals(data), "a layer that came by a file is whole");
    for (const layer of slow) layer.release();
    await ended;
    assert.deepEqual(spooled(), []);
  });

  test("that are given up leave nothing, with an unpacker or in a file", async () => {
    const controller = new AbortController();
    const slow = Array.from({ length: 6 }, () => new SlowLayer("slow.test"));
    const { ended } = await unpackSlowly(slow, 3, controller.signal);
    await until("the others are kept in files", () => spooled().length === 3);
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(ended, (error) => error === reason);
    assert.deepEqual(spooled(), []);
    assert.deepEqual(childPids(), []);
    assert.deepEqual(readdirSync(join(fixture.root, "layers")), [".empty"]);
  });

  test("that break off in a file fail as they would with an unpacker, and leave nothing", async () => {
    const slow = Array.from({ length: 3 }, () => new SlowLayer("slow.test"));
    const { ended } = await unpackSlowly(slow, 3);
    const failure = new Error("the registry went away");
    async function* broken(): AsyncGenerator<Buffer> {
      yield Buffer.from("x");
      throw failure;
    }
    const { source } = new SlowLayer("slow.test");
    const call = fixture.layers.unpack({ ...source, chunks: broken() }, never);
    await assert.rejects(call, (error) => error === failure);
    async function* long(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(1_000_000);
    }
    const tooLong = fixture.layers.unpack({ ...source, chunks: long() }, never);
    await assert.rejects(tooLong, (error) => {
      assert.match(String(error), /longer than its \d+ bytes/);
      return isKind(error, "data-loss");
    });
    for (const layer of slow) layer.release();
    await ended;
    assert.equal(readdirSync(join(fixture.root, "layers")).length, 4);
  });

  test("no unpacker is started before the first byte", async () => {
    const { promise: firstByte, resolve } = Promise.withResolvers<undefined>();
    let isAsked = false;
    async function* chunks(): AsyncGenerator<Buffer> {
      isAsked = true;
      await firstByte;
      yield tar;
    }
    const tar = buildTar([{ name: "file" }]);
    const call = fixture.layers.unpack({ ...sourceOf(tar), chunks: chunks() }, never);
    await until("the source is asked", () => isAsked);
    await fixture.layer({ name: "another" });
    assert.deepEqual(childPids(), []);
    resolve(undefined);
    await call;
  });
});

test("two run at a time as long as they have bytes", async () => {
  await using busy = await TestOverlay.open(join(directory, "busy"), {
    turns: { graceMs: 3_600_000, smallBytes: 0 },
  });
  const controller = new AbortController();
  const layers = Array.from({ length: 5 }, () => new SlowLayer("a.test"));
  const calls = layers.map(({ source }) => busy.layers.unpack(source, controller.signal));
  const settled = Promise.allSettled(calls);
  await until("two have begun", () => childPids().length === 2);
  controller.abort();
  for (const result of await settled) assert.equal(result.status, "rejected");
});

test("of two sources of one layer the first that is whole gives it, and the other leaves nothing", async () => {
  const slow = new SlowLayer("slow.test");
  const { ended } = await unpackSlowly([slow], 1);
  const { diffId } = slow.source;
  const fast = new SlowLayer("fast.test");
  const tar = buildTar([{ name: "file", data: `slow ${count - 2}` }]);
  assert.equal(sourceOf(tar).diffId, diffId);
  await fixture.layers.unpack({ ...sourceOf(tar), registry: "fast.test" }, never);
  assert.ok(fixture.layers.has(diffId));
  slow.release();
  await ended;
  assert.deepEqual(readdirSync(join(fixture.root, "layers")).toSorted(), [".empty", hexOf(diffId)]);
  fast.release();
});
