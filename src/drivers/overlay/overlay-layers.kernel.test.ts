import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { type Digest, hexOf } from "../../base/digest.ts";
import { silentLogger } from "../../base/logger.ts";
import { hostBootId } from "../../linux/host/index.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { file, never, OverlayFixture } from "./testing/fixture.ts";
import { digestOf, sourceOf, TestOverlay } from "./testing/layers.ts";

const fixture = new OverlayFixture();
const read = (root: string, name: string): string => readFileSync(join(root, name), "utf8");

describe("layers", () => {
  for (const { what, facts } of [
    { what: "cut off", facts: "{" },
    { what: "empty", facts: "" },
    { what: "nothing but zeros", facts: "\0".repeat(300) },
    { what: "missing", facts: undefined },
  ]) {
    test(`are found by the next daemon; one whose facts are ${what} is ignored and can be unpacked again`, async () => {
      const [a, b] = [await fixture.layer(file("a")), await fixture.layer(file("b"), file("c"))];
      const usage = fixture.layers.usage();
      const path = join(fixture.root, "layers", hexOf(b), "layer.json");
      if (facts === undefined) rmSync(path);
      else writeFileSync(path, facts);
      await using again = await TestOverlay.open(fixture.root);
      assert.deepEqual(again.layers.list(), [a]);
      assert.equal(await again.layer(file("b"), file("c")), b);
      assert.deepEqual(new Set(again.layers.list()), new Set([a, b]));
      assert.deepEqual(again.layers.usage(), usage);
      await fixture.untilHolds("layers", [".empty", ...[a, b].map(hexOf).sort()]);
    });
  }

  test("a removed layer and its usage disappear at once", async () => {
    const layer = await fixture.layer(file("x", "x".repeat(10_000)));
    assert.ok(fixture.layers.usage().bytes >= 12_288n);
    await fixture.layers.remove(layer);
    assert.equal(fixture.layers.has(layer), false);
    assert.deepEqual(fixture.layers.usage(), { bytes: 0n, inodes: 0n });
    await fixture.layers.remove(layer);
    await fixture.untilHolds("layers", [".empty"]);
  });

  test("keep the blobs and registries that they came from, also across a restart", async () => {
    const tar = buildTar([file("a")]);
    const packed = gzipSync(tar);
    const source = sourceOf(tar);
    const layer = source.diffId;
    const origin = {
      registry: source.registry,
      digest: digestOf(tar),
      sizeBytes: BigInt(tar.length),
    };
    const other = {
      registry: "other.test",
      digest: digestOf(packed),
      sizeBytes: BigInt(packed.length),
    };
    await fixture.layers.unpack(source, never);
    const { ino } = statSync(join(fixture.root, "layers", hexOf(layer)));
    const changes = [{ registry: "other.test" }, { digest: other.digest }, { sizeBytes: 1n }];
    for (const change of changes) {
      assert.ok(!fixture.layers.hasFrom(layer, { ...origin, ...change }));
    }
    // Its origin is known, so an attribution is ignored.
    fixture.layers.attribute(layer, other);
    assert.ok(!fixture.layers.hasFrom(layer, other));
    await fixture.layers.unpack({ ...sourceOf(tar, packed), registry: "other.test" }, never);
    await using again = await TestOverlay.open(fixture.root);
    for (const overlay of [fixture, again]) {
      assert.ok(overlay.layers.hasFrom(layer, origin));
      assert.ok(overlay.layers.hasFrom(layer, other));
    }
    assert.equal(statSync(join(fixture.root, "layers", hexOf(layer))).ino, ino);
    await fixture.untilHolds("layers", [".empty", hexOf(layer)]);
    await fixture.layers.remove(layer);
    assert.ok(!fixture.layers.hasFrom(layer, origin));
  });

  test("get no origin from other content", async () => {
    const layer = await fixture.layer(file("a"));
    const wrong = buildTar([file("b")]);
    const blob = { mediaType: "any", digest: digestOf(wrong), sizeBytes: BigInt(wrong.length) };
    const source = { ...sourceOf(wrong), diffId: layer };
    await assert.rejects(fixture.layers.unpack(source, never), /sha256:/);
    const origin = { registry: source.registry, ...blob };
    assert.ok(!fixture.layers.hasFrom(layer, origin));
    assert.ok(fixture.layers.has(layer));
    await fixture.untilHolds("layers", [".empty", hexOf(layer)]);
  });

  test("of version 1 have the attributed origin until they are fetched", async () => {
    const tar = buildTar([file("a")]);
    const layer = await fixture.layer(file("a"));
    const path = join(fixture.root, "layers", hexOf(layer), "layer.json");
    writeFileSync(path, '{"version":1,"bytes":1,"inodes":1,"rootOpaque":true}');
    const origin = { registry: "old.test", digest: digestOf(tar), sizeBytes: BigInt(tar.length) };
    await using old = await TestOverlay.open(fixture.root);
    assert.ok(!old.layers.hasFrom(layer, origin));
    old.layers.attribute(layer, origin);
    assert.ok(old.layers.hasFrom(layer, origin));
    await old.layers.unpack(sourceOf(tar), never);
    await using again = await TestOverlay.open(fixture.root);
    assert.ok(again.layers.hasFrom(layer, origin));
    assert.ok(again.layers.hasFrom(layer, { ...origin, registry: "registry.test" }));
    assert.deepEqual(JSON.parse(readFileSync(path, "utf8")), {
      version: 2,
      bytes: 1,
      inodes: 1,
      rootOpaque: true,
      origins: ["old.test", "registry.test"].map((registry) => ({
        ...origin,
        registry,
        sizeBytes: String(tar.length),
      })),
    });
  });

  test("of another boot that are not on the disk are missing, and swept; those of this boot stay", async () => {
    const names = [file("a"), file("b"), file("c"), file("d"), file("e")];
    const layers = await Promise.all(names.map((name) => fixture.layer(name)));
    const [synced = assert.fail(), other = assert.fail(), empty = assert.fail()] = layers;
    await fixture.layers.synced();
    const markOf = (layer: Digest): string =>
      join(fixture.root, "layers", hexOf(layer), "unsynced");
    for (const layer of layers) assert.ok(!existsSync(markOf(layer)));
    writeFileSync(markOf(other), "8d1c8a5e-0000-4000-8000-000000000000");
    // As a file is whose content was not on the disk.
    writeFileSync(markOf(empty), "");
    const [, , , same = assert.fail()] = layers;
    writeFileSync(markOf(same), hostBootId());
    const failed = layers.at(-1) ?? assert.fail();
    writeFileSync(markOf(failed), `${hostBootId()}\nEIO`);
    const warnings: string[] = [];
    const log = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
    await using next = await TestOverlay.open(fixture.root, { log });
    assert.deepEqual(new Set(next.layers.list()), new Set([synced, same, failed]));
    assert.equal(warnings.length, 2);
    assert.match(warnings.join(), /the machine stopped before its files were on the disk/);
    assert.equal(await next.layer(file("b")), other);
    assert.deepEqual(await next.layers.sweep(), [
      `removed layer "${empty}", which was not on the disk when the machine stopped`,
    ]);
    await next.layers.synced();
    for (const layer of [synced, other, same]) assert.ok(!existsSync(markOf(layer)));
    // A sync of an earlier daemon of this boot has failed: a further one would succeed without its data.
    assert.ok(existsSync(markOf(failed)));
    assert.equal(next.layers.syncFailureOf(failed), "EIO");
    const left = [synced, other, same, failed];
    await fixture.untilHolds("layers", [".empty", ...left.map(hexOf).sort()]);
  });

  test("cannot be entered by users of the host", () => {
    assert.equal(statSync(join(fixture.root, "layers")).mode & 0o7777, 0o700);
  });
});

describe("sweep()", () => {
  test("removes unknown roots and unfinished layers, and reports them", async () => {
    const layer = await fixture.layer(file("x"));
    for (const id of ["known", "unknown"]) await fixture.roots.mount(id, [layer]);
    mkdirSync(join(fixture.root, "layers/.new-1/fs"), { recursive: true });
    mkdirSync(join(fixture.root, "layers/.gone-1"));
    mkdirSync(join(fixture.root, "roots/.gone-2/upper"), { recursive: true });
    await using next = await TestOverlay.open(fixture.root);
    const lines = [...(await next.roots.sweep(new Set(["known"]))), ...(await next.layers.sweep())];
    assert.deepEqual(lines.sort(), [
      `removed half-unpacked layer "${fixture.root}/layers/.new-1"`,
      'removed root of unknown container "unknown"',
    ]);
    await fixture.untilHolds("roots", ["known"]);
    await fixture.untilHolds("layers", [".empty", hexOf(layer)]);
    assert.equal(read(join(fixture.root, "roots/known/merged"), "x"), "x");
    assert.deepEqual(await next.roots.sweep(new Set(["known"])), []);
    assert.deepEqual(await next.layers.sweep(), []);
  });
});
