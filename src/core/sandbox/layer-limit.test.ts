import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  askedLayerLimit,
  hasLayerLimit,
  layerLimitAnnotation,
  layerLimitOf,
} from "./layer-limit.ts";

const pod = (value: string) => ({ annotations: { [layerLimitAnnotation]: value } });
const invalid = { kind: "invalid-argument" };

describe("askedLayerLimit()", () => {
  test("reads bytes and units, and refuses everything else", () => {
    assert.equal(askedLayerLimit({ annotations: {} }), undefined);
    for (const [text, bytes] of [
      ["4096", 4096],
      ["1k", 1000],
      ["512Mi", 512 * 2 ** 20],
      ["2G", 2e9],
      ["1Ti", 2 ** 40],
    ] as const) {
      assert.equal(askedLayerLimit(pod(text)), bytes);
    }
    for (const text of [
      "",
      "0",
      "-1",
      "1.5Gi",
      "1e9",
      "Gi",
      "1K",
      "1m",
      "1Gi\n",
      " 1",
      "9999999999Ti",
    ]) {
      assert.throws(() => askedLayerLimit(pod(text)), invalid, text);
    }
  });
});

describe("layerLimitOf()", () => {
  test("lowers the limit of the node, and raises it only where that is allowed", () => {
    assert.equal(layerLimitOf({ annotations: {} }, { limit: 1000, most: 0 }), 1000);
    assert.equal(layerLimitOf(pod("1000"), { limit: 1000, most: 0 }), 1000);
    assert.equal(layerLimitOf(pod("10"), { limit: 1000, most: 0 }), 10);
    assert.throws(() => layerLimitOf(pod("1001"), { limit: 1000, most: 0 }), invalid);
    assert.throws(() => layerLimitOf(pod("1001"), { limit: 1000, most: 500 }), invalid);
    assert.equal(layerLimitOf(pod("1001"), { limit: 1000, most: 2000 }), 1001);
    assert.throws(() => layerLimitOf(pod("2001"), { limit: 1000, most: 2000 }), invalid);
    assert.equal(layerLimitOf(pod("2001"), { limit: 0, most: 0 }), 2001);
  });
});

test("hasLayerLimit() does not depend on what the node allows by now", () => {
  assert.equal(hasLayerLimit({ annotations: {} }, { limit: 0 }), false);
  assert.equal(hasLayerLimit({ annotations: {} }, { limit: 10 }), true);
  assert.equal(hasLayerLimit(pod("5Gi"), { limit: 0 }), true);
});
