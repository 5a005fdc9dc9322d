import assert from "node:assert/strict";
import { test } from "node:test";
import type { Digest } from "../../base/digest.ts";
import { PullProgress } from "./progress.ts";

const digest = (letter: string): Digest => `sha256:${letter.repeat(64)}`;

test("PullProgress shows each layer of the pulls in progress, and shared ones in all of them", async () => {
  const there = new Set([digest("1")]);
  const progress = new PullProgress((diffId) => there.has(diffId));
  const layer = (blob: string, diff: string) => ({
    digest: digest(blob),
    diffId: digest(diff),
    sizeBytes: 10n,
  });
  const first = progress.watch("a", [layer("a", "1"), layer("b", "2"), layer("c", "3")]);
  const second = progress.watch("b", [layer("b", "2")]);
  const states = () =>
    progress
      .views()
      .map(({ image, layers }) => [
        image,
        ...layers.map(({ state, fetchedBytes }) => `${state} ${fetchedBytes}`),
      ]);
  assert.deepEqual(states(), [
    ["a", "done 10", "waiting 0", "waiting 0"],
    ["b", "waiting 0"],
  ]);

  const first4 = new Uint8Array(4);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield first4;
    yield new Uint8Array(6);
  }
  const fetch = progress.fetch(digest("2"));
  const counted = fetch.count(chunks());
  await counted.next();
  structuredClone(first4.buffer, { transfer: [first4.buffer] });
  assert.equal(first4.length, 0, "its memory is freed");
  await counted.next();
  assert.deepEqual(states(), [
    ["a", "done 10", "fetching 4", "waiting 0"],
    ["b", "fetching 4"],
  ]);
  await counted.next();
  first[Symbol.dispose]();
  assert.deepEqual(states(), [["b", "unpacking 10"]], "fetched, and not there yet");
  there.add(digest("2"));
  assert.deepEqual(states(), [["b", "done 10"]]);
  fetch[Symbol.dispose]();
  there.delete(digest("2"));
  assert.deepEqual(states(), [["b", "waiting 0"]]);
  second[Symbol.dispose]();
  assert.deepEqual(states(), []);
});

test("of two that fetch one layer, the end of the first does not hide the second", async () => {
  const progress = new PullProgress(() => false);
  using _pull = progress.watch("a", [{ digest: digest("a"), diffId: digest("1"), sizeBytes: 10n }]);
  const first = progress.fetch(digest("1"));
  using second = progress.fetch(digest("1"));
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10);
  }
  for await (const _ of second.count(chunks()));
  first[Symbol.dispose]();
  assert.equal(progress.views()[0]?.layers[0]?.state, "unpacking");
});

test("a count of chunks closes its source when its reader stops", async () => {
  const progress = new PullProgress(() => false);
  let ended = false;
  async function* chunks(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield new Uint8Array(1);
    } finally {
      ended = true;
    }
  }
  using fetch = progress.fetch(digest("1"));
  for await (const _ of fetch.count(chunks())) break;
  assert.equal(ended, true);
});
