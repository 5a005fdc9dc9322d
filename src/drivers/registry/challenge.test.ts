import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseChallenges } from "./challenge.ts";

const parsed = (header: string | undefined): unknown =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe("parseChallenges()", () => {
  test("reads one and several challenges of a line", () => {
    assert.deepEqual(parsed(undefined), []);
    assert.deepEqual(parsed("Basic"), [["basic", {}]]);
    assert.deepEqual(parsed('Bearer realm="https://a/t?x=1,2",service=s,Scope="a b \\"c\\""'), [
      ["bearer", { realm: "https://a/t?x=1,2", service: "s", scope: 'a b "c"' }],
    ]);
    assert.deepEqual(parsed('Negotiate, Bearer realm="x" , error = "e", Basic realm="y"'), [
      ["negotiate", {}],
      ["bearer", { realm: "x", error: "e" }],
      ["basic", { realm: "y" }],
    ]);
  });

  test("ends with nonsense, and soon", () => {
    assert.deepEqual(parsed('realm="x"'), []);
    assert.deepEqual(parsed('Basic realm="never closed'), [["basic", {}]]);
    assert.deepEqual(parsed("\u0000"), []);
    for (const piece of [" ", ",", ", ", 'a="\\', "a ", "a=b,", '"']) {
      // CPU time, on which other programs have no influence.
      const before = process.cpuUsage();
      parseChallenges(piece.repeat(16_000));
      assert.ok(process.cpuUsage(before).user < 1_000_000, piece);
    }
  });
});
