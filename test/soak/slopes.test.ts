import assert from "node:assert/strict";
import { test } from "node:test";
import { grows, slopeOf, type SoakSample } from "./slopes.ts";

const sample = (life: number, pods: number, heap: number): SoakSample => ({
  life,
  pods,
  values: { heap },
});
const noise = [3, -2, 0, 4, -5, 1, -1, 2];

test("slopeOf() finds growth, and not noise", () => {
  const leak = noise.map((off, n) => sample(0, n * 100, 1000 + n * 100 * 0.5 + off));
  const slope = slopeOf(leak, "heap", true);
  assert.ok(Math.abs(slope.per1000 - 500) < 50, String(slope.per1000));
  assert.equal(grows(slope, 100), true);
  assert.equal(grows(slope, 600), false);
  const flat = noise.map((off, n) => sample(0, n * 100, 1000 + off));
  assert.equal(grows(slopeOf(flat, "heap", true), 10), false);
});

test("slopeOf() finds the growth of daemons that begin again, each at a level of its own", () => {
  const lives = [0, 1, 2, 3].flatMap((life) =>
    noise.map((off, n) => sample(life, life * 800 + n * 100, 9000 - life * 500 + n * 20 + off)),
  );
  assert.ok(slopeOf(lives, "heap", true).per1000 > 150);
  assert.ok(slopeOf(lives, "heap", false).per1000 < 0);
});

test("slopeOf() says nothing of too few samples", () => {
  for (const few of [[], [sample(0, 1, 1)], [sample(0, 1, 1), sample(0, 2, 100)]]) {
    assert.equal(grows(slopeOf(few, "heap", true), 0), false);
  }
});
