import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseQuantity, podBandwidth } from "./bandwidth.ts";

describe("parseQuantity()", () => {
  const cases: readonly (readonly [string, bigint | undefined])[] = [
    ["10M", 10_000_000n],
    ["1.5Gi", 1_610_612_736n],
    ["2e6", 2_000_000n],
    ["2E3", 2_000n],
    ["1E", 1_000_000_000_000_000_000n],
    ["+5k", 5_000n],
    ["-5k", -5_000n],
    [".5k", 500n],
    ["1.", 1n],
    ["1001m", 2n],
    ["1e-3", 1n],
    ["0", 0n],
    ["", undefined],
    [".", undefined],
    ["k", undefined],
    ["10Mbit", undefined],
    ["10 M", undefined],
    ["1e", undefined],
    ["ten", undefined],
    ["0x10", undefined],
  ];
  for (const [text, want] of cases) {
    test(`reads "${text}" as ${String(want)}`, () => {
      assert.equal(parseQuantity(text), want);
    });
  }
});

describe("podBandwidth()", () => {
  test("is undefined without annotations", () => {
    assert.equal(podBandwidth({ other: "1" }), undefined);
  });

  test("returns rates with a burst that does not limit", () => {
    assert.deepEqual(podBandwidth({ "kubernetes.io/ingress-bandwidth": "10M" }), {
      ingressRate: 10_000_000,
      ingressBurst: 2_147_483_647,
    });
    assert.deepEqual(podBandwidth({ "kubernetes.io/egress-bandwidth": "1Mi" }), {
      egressRate: 1_048_576,
      egressBurst: 2_147_483_647,
    });
  });

  for (const bad of ["fast", "", "999", "2P", "-1M"]) {
    test(`refuses "${bad}"`, () => {
      assert.throws(() => podBandwidth({ "kubernetes.io/egress-bandwidth": bad }), {
        kind: "invalid-argument",
        message: new RegExp(`egress-bandwidth": it must be .*it is "${bad}"`),
      });
    });
  }
});
