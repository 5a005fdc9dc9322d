import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseClaim } from "./simple-signing.ts";

const digest = `sha256:${"b".repeat(64)}`;
const critical = {
  type: "atomic container signature",
  image: { "docker-manifest-digest": digest },
  identity: { "docker-reference": "x.test/a:1" },
};
const parse = (value: unknown) => parseClaim(JSON.stringify(value), "atomic container signature");

describe("parseClaim()", () => {
  test("reads the name and the digest", () => {
    const optional = { creator: "test", timestamp: 1, more: {} };
    assert.deepEqual(parse({ critical, optional }), { digest, reference: "x.test/a:1" });
  });

  test("accepts null for the optional part from cosign only", () => {
    const type = "cosign container image signature" as const;
    const text = JSON.stringify({ critical: { ...critical, type }, optional: null });
    assert.deepEqual(parseClaim(text, type), { digest, reference: "x.test/a:1" });
    assert.throws(() => parse({ critical, optional: null }), /optional: it must be an object/);
  });

  for (const [value, why] of [
    [{ critical }, /must have the key "optional"/],
    [{ critical, optional: {}, more: 1 }, /must not have the key "more"/],
    [{ critical: { ...critical, more: 1 }, optional: {} }, /must not have the key "more"/],
    [
      { critical: { ...critical, type: "other" }, optional: {} },
      /type: it is "other", not "atomic/,
    ],
    [
      { critical: { ...critical, image: { "docker-manifest-digest": "sha256:1" } }, optional: {} },
      /"sha256:1" is not a sha256 digest/,
    ],
    [
      { critical: { ...critical, identity: {} }, optional: {} },
      /must have the key "docker-reference"/,
    ],
  ] as const) {
    test(`refuses ${JSON.stringify(value).slice(0, 80)}`, () => {
      assert.throws(() => parse(value), why);
    });
  }
});
