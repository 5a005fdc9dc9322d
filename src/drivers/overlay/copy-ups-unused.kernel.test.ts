// What layers share in chains that no image has any more, or that was not on the disk when the node went down.
import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Digest } from "../../base/digest.ts";
import { until } from "../../linux/testing/leaks.ts";
import { file, never, OverlayFixture } from "./testing/fixture.ts";
import { TestOverlay } from "./testing/layers.ts";

const fixture = new OverlayFixture();

const shared = (): readonly string[] =>
  readdirSync(join(fixture.root, "layers")).filter((name) => name.startsWith(".copy-up-"));

test("removeCopyUps() keeps those of the given chains, and of what they begin with", async () => {
  const { layers } = fixture;
  const one = await fixture.layer(file("a", "1"));
  const other = await fixture.layer(file("a", "2"));
  const linking = await fixture.layer({ name: "b", type: "1", linkName: "a" });
  const top = await fixture.layer(file("top"));
  const chains: readonly (readonly Digest[])[] = [
    [one, linking],
    [other, linking, top],
  ];
  for (const chain of chains) await layers.complete(chain, never);
  assert.equal(shared().length, 2);
  assert.deepEqual(await layers.removeCopyUps(() => chains), []);

  const [first = [], second = []] = chains;
  const lines = await layers.removeCopyUps(() => [second]);
  assert.match(lines.join(), /^removed "\.copy-up-[0-9a-f]{64}"/);
  assert.equal(shared().length, 1);
  assert.notEqual(layers.lacking(first), undefined);
  assert.equal(layers.lacking(second), undefined);

  // Another pull makes it again.
  await layers.complete(first, never);
  assert.equal(layers.lacking(first), undefined);
  assert.equal((await layers.removeCopyUps(() => [])).length, 2);
  assert.deepEqual(shared(), []);
});

test("what layers share is missing in another boot, as long as it was not on the disk", async () => {
  const { layers } = fixture;
  const linked = { name: "y", type: "1", linkName: "x" } as const;
  const chain = [await fixture.layer(file("x")), await fixture.layer(linked)];
  await layers.complete(chain, never);
  await layers.synced();
  const [name = assert.fail()] = shared();
  const mark = join(fixture.root, "layers", name, "unsynced");
  assert.ok(!existsSync(mark));
  writeFileSync(mark, "");
  await using next = await TestOverlay.open(fixture.root);
  assert.equal(next.layers.lacking(chain), chain[1]);
  await next.layers.complete(chain, never);
  assert.equal(next.layers.lacking(chain), undefined);
  assert.deepEqual(await next.layers.sweep(), []);
  await next.layers.synced();
  assert.ok(!existsSync(mark));
});

test("space() is that of the file system, and isDeleting is true until removed files are gone", async () => {
  const { layers } = fixture;
  const layer = await fixture.layer(file("a"));
  const { totalBytes, freeBytes } = await layers.space();
  assert.ok(totalBytes > freeBytes && freeBytes > 0);
  assert.equal(layers.isDeleting, false);
  await layers.remove(layer);
  await fixture.untilHolds("layers", [".empty"]);
  await until("the deletion has ended", () => !fixture.layers.isDeleting);
});
