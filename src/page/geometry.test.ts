import assert from "node:assert/strict";
import { test } from "node:test";
import { barOf, barsOf, clockTicks, commonAxis, heightOf, layoutOf, ticksOf } from "./geometry.ts";
import type { OperationView } from "./view.ts";

function operation(
  startedMs: number,
  tookMs: number,
  more: Partial<OperationView> = {},
): OperationView {
  return {
    operation: "run-pod-sandbox",
    container: "",
    startedMs,
    tookMs,
    running: false,
    error: undefined,
    phases: [],
    ...more,
  };
}

test("layoutOf() keeps the order of operations and cuts the time of the client", () => {
  const operations = [operation(9_125, 40), operation(1_000, 100), operation(1_110, 10)];
  const { operations: placed, gaps, lengthMs } = layoutOf({ operations });
  assert.deepEqual(
    placed.map(({ fromMs, operation: { tookMs } }) => [fromMs, tookMs]),
    [
      [0, 100],
      [110, 10],
      [150, 40],
    ],
  );
  assert.deepEqual(gaps, [{ atMs: 120, lengthMs: 30, tookMs: 8_005 }]);
  assert.equal(lengthMs, 190);
});

test("layoutOf() places operations that overlap", () => {
  const operations = [operation(0, 100), operation(20, 10), operation(120, 5)];
  const { operations: placed, gaps, lengthMs } = layoutOf({ operations });
  assert.deepEqual(
    placed.map(({ fromMs }) => fromMs),
    [0, 20, 120],
  );
  assert.deepEqual([gaps, lengthMs], [[], 125]);
  const nothing = { operations: [], gaps: [], squeezed: [], lengthMs: 0 };
  assert.deepEqual(layoutOf({ operations: [] }), nothing);
});

test("layoutOf() draws the time of a pull alone to a smaller scale, with its layers", () => {
  const pull = { operation: "pull-image" };
  const operations = [
    operation(1_000, 100),
    // 20 ms beside the sandbox, 9,980 ms alone, and a layer in the second half of them.
    operation(1_080, 10_000, pull),
    operation(6_090, 4_990, { operation: "pull-layer" }),
    operation(11_090, 10, { operation: "create-container" }),
  ];
  const { operations: placed, gaps, squeezed, lengthMs } = layoutOf({ operations });
  assert.deepEqual(squeezed, [{ atMs: 100, lengthMs: 150, tookMs: 9_980 }]);
  assert.deepEqual(gaps, []);
  assert.equal(lengthMs, 270);
  assert.deepEqual(
    placed.map(({ fromMs, toMs }) => [fromMs, toMs]),
    [
      [0, 100],
      [80, 250],
      [175, 250],
      [260, 270],
    ],
  );
  assert.deepEqual(
    [20, 20 + 9_980 / 2].map((ms) => placed[1]?.at(ms)),
    [100, 175],
  );
  const own = layoutOf({ kind: "pull", operations: [operation(0, 9_000, pull)] });
  assert.deepEqual([own.lengthMs, own.squeezed], [9_000, []]);
});

test("layoutOf() leaves a short pull, and what happens during a pull, at its scale", () => {
  const short = [operation(0, 100), operation(100, 140, { operation: "pull-image" })];
  assert.deepEqual(layoutOf({ operations: short }).squeezed, []);
  assert.equal(layoutOf({ operations: short }).lengthMs, 240);
  const beside = [operation(0, 5_000), operation(10, 4_000, { operation: "pull-image" })];
  assert.deepEqual(layoutOf({ operations: beside }).squeezed, []);
  assert.equal(layoutOf({ operations: beside }).lengthMs, 5_000);
});

test("barsOf() marks the phase in which an operation failed", () => {
  const phases = [
    { name: "a", kind: "record", fromMs: 0, toMs: 25 },
    { name: "b", kind: "network", fromMs: 25, toMs: 50 },
  ] as const;
  const bars = barsOf(operation(0, 50, { phases, error: "no" }), (ms) => 50 + ms, 200);
  assert.deepEqual(
    bars.map(({ left, width, failed }) => [left, width, failed]),
    [
      [25, 12.5, false],
      [37.5, 12.5, true],
    ],
  );
  assert.ok(barsOf(operation(0, 50, { phases }), (ms) => ms, 50).every(({ failed }) => !failed));
});

test("barOf() stays on the axis and is never invisible", () => {
  const last = barOf(100, 100, 100);
  assert.ok(last.width > 0 && last.left + last.width <= 100);
  assert.deepEqual(barOf(0, 500, 100), { left: 0, width: 100 });
  const none = barOf(0, 0, 0);
  assert.ok(none.width > 0 && Number.isFinite(none.left));
});

test("barOf() ends at the end of the axis", () => {
  assert.deepEqual(barOf(50, 900, 100), { left: 50, width: 50 });
  const beyond = barOf(500, 900, 100);
  assert.ok(beyond.left > 99 && beyond.width < 1);
});

test("commonAxis() is the longest start, unless that is far longer than the others", () => {
  assert.equal(commonAxis([100, 250, 120, 300, 90]), 300);
  assert.equal(commonAxis([100, 110, 120, 90, 13_000]), 360);
  assert.equal(commonAxis([13_000]), 13_000);
  assert.equal(commonAxis([]), 1);
});

test("ticksOf() are round times on the axis", () => {
  assert.deepEqual(ticksOf(190), [0, 50, 100, 150]);
  assert.deepEqual(ticksOf(9_200), [0, 2_000, 4_000, 6_000, 8_000]);
  assert.deepEqual(ticksOf(0), [0]);
  for (const axis of [1, 7, 33, 480, 61_000]) assert.ok(ticksOf(axis).length <= 6);
});

test("heightOf() grows with the duration, and has limits", () => {
  const heights = [0, 100, 1_000, 10_000, 1e9].map(heightOf);
  assert.deepEqual(
    heights,
    heights.toSorted((a, b) => a - b),
  );
  assert.deepEqual([heights[0], heights[4]], [3, 100]);
});

test("clockTicks() are full steps of the clock", () => {
  const at = Date.UTC(2026, 0, 1, 12, 3);
  const ticks = clockTicks(at, at + 25 * 60_000, 10);
  assert.deepEqual(
    ticks.map((ms) => new Date(ms).toISOString().slice(11, 16)),
    ["12:10", "12:20"],
  );
});
