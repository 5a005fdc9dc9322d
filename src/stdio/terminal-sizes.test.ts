import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { TerminalSizes } from "./terminal-sizes.ts";

/** A client's sizes, and how it sends more. */
function client() {
  const sent = new PassThrough({ objectMode: true });
  const send = async (...widths: readonly number[]): Promise<void> => {
    for (const width of widths) sent.write({ width, height: 24 });
    for (let turns = 0; turns < 20; turns++) await turn();
  };
  return { sizes: new TerminalSizes(sent), send };
}

test("TerminalSizes ignores invalid sizes, and reports the latest one to a later listener", async () => {
  const { sizes, send } = client();
  await send(80, -1, 70_000, 100);
  const seen: number[] = [];
  sizes.follow(({ width }) => seen.push(width));
  assert.deepEqual(seen, [100]);
  await send(110, 120);
  assert.deepEqual(seen, [100, 110, 120]);
  sizes[Symbol.dispose]();
});

test("TerminalSizes gives a listener that was busy the latest size, and none after its end", async () => {
  const { sizes, send } = client();
  const seen: number[] = [];
  let finish: (() => void) | undefined;
  sizes.follow(({ width }) => {
    seen.push(width);
    return new Promise<void>((resolve) => (finish = resolve));
  });
  await send(80);
  await send(90, 100);
  assert.deepEqual(seen, [80]);
  finish?.();
  await turn();
  assert.deepEqual(seen, [80, 100]);
  await send(110);
  sizes[Symbol.dispose]();
  finish?.();
  await send(120);
  assert.deepEqual(seen, [80, 100]);
});
