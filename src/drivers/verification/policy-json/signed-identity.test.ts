import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseReference } from "../../../core/image/index.ts";
import { matchesIdentity, parseSignedIdentity, type SignedIdentity } from "./signed-identity.ts";
import { parseStrictJson } from "./strict-json.ts";

const digest = `sha256:${"a".repeat(64)}`;
const parse = (value: unknown) =>
  parseSignedIdentity(parseStrictJson(JSON.stringify(value), "identity"));

/** Whether a signature of `signed` counts for `image`. */
const matches = (identity: SignedIdentity, image: string, signed: string): boolean =>
  matchesIdentity(identity, parseReference(image), signed);

describe("matchesIdentity()", () => {
  const cases: readonly (readonly [unknown, string, string, boolean])[] = [
    [{ type: "matchExact" }, "x.test/a:1", "x.test/a:1", true],
    [{ type: "matchExact" }, "x.test/a:1", "x.test/a:2", false],
    [{ type: "matchExact" }, "x.test/a:latest", "x.test/a", false],
    [{ type: "matchExact" }, "x.test/a:1", `x.test/a:1@${digest}`, false],
    [{ type: "matchExact" }, `x.test/a@${digest}`, `x.test/a@${digest}`, true],
    [{ type: "matchExact" }, `x.test/a@${digest}`, "x.test/a:1", false],
    [{ type: "matchExact" }, "busybox:1", "docker.io/library/busybox:1", true],
    [{ type: "matchRepoDigestOrExact" }, "x.test/a:1", "x.test/a:1", true],
    [{ type: "matchRepoDigestOrExact" }, "x.test/a:1", "x.test/a:2", false],
    [{ type: "matchRepoDigestOrExact" }, "x.test/a:1", "x.test/a", false],
    [{ type: "matchRepoDigestOrExact" }, `x.test/a@${digest}`, "x.test/a:2", true],
    [{ type: "matchRepoDigestOrExact" }, `x.test/a@${digest}`, "x.test/b:2", false],
    [{ type: "matchRepoDigestOrExact" }, `x.test/a@${digest}`, "x.test/a", false],
    [{ type: "matchRepository" }, "x.test/a:1", "x.test/a", true],
    [{ type: "matchRepository" }, "x.test/a:1", "x.test/a:2", true],
    [{ type: "matchRepository" }, "x.test/a:1", "x.test/a/b:1", false],
    [{ type: "exactReference", dockerReference: "y.test/b:3" }, "x.test/a:1", "y.test/b:3", true],
    [{ type: "exactReference", dockerReference: "y.test/b:3" }, "x.test/a:1", "x.test/a:1", false],
    [{ type: "exactReference", dockerReference: "y.test/b:3" }, "x.test/a:1", "y.test/b", false],
    [{ type: "exactRepository", dockerRepository: "y.test/b" }, "x.test/a:1", "y.test/b:9", true],
    [{ type: "exactRepository", dockerRepository: "y.test/b" }, "x.test/a:1", "y.test/bc:9", false],
  ];
  for (const [value, image, signed, expected] of cases) {
    const { type } = value as { readonly type: string };
    test(`${type}: ${image} signed as ${signed}: ${expected}`, () => {
      assert.equal(matches(parse(value), image, signed), expected);
    });
  }

  test("remapIdentity replaces a prefix at the end of a part of the name", () => {
    const identity = parse({
      type: "remapIdentity",
      prefix: "mirror.test:5000/v",
      signedPrefix: "v.test",
    });
    assert.equal(matches(identity, "mirror.test:5000/v/a:1", "v.test/a:1"), true);
    assert.equal(matches(identity, "mirror.test:5000/v/a:1", "v.test/a:2"), false);
    assert.equal(matches(identity, "mirror.test:5000/v/a:1", "mirror.test:5000/v/a:1"), false);
    assert.equal(matches(identity, `mirror.test:5000/v/a@${digest}`, "v.test/a:2"), true);
    assert.equal(matches(identity, "mirror.test:5000/va/a:1", "mirror.test:5000/va/a:1"), true);
    assert.equal(matches(identity, "mirror.test:5000/va/a:1", "v.testa/a:1"), false);
  });

  test("nothing matches what is not a name", () => {
    for (const signed of [
      "",
      "UPPER",
      "x.test/a:1:2",
      "x.test/a@sha256:1",
      " x.test/a:1",
      "x.test/a:1\n",
    ]) {
      assert.equal(matches({ type: "matchRepository" }, "x.test/a:1", signed), false, signed);
      assert.equal(
        matches({ type: "matchRepoDigestOrExact" }, "x.test/a:1", signed),
        false,
        signed,
      );
    }
  });
});

describe("parseSignedIdentity()", () => {
  test("is matchRepoDigestOrExact by default", () => {
    assert.deepEqual(parseSignedIdentity(undefined), { type: "matchRepoDigestOrExact" });
  });

  for (const [value, why] of [
    [{ type: "matchAll" }, /identity: it has the unknown type "matchAll"/],
    [{ type: "matchExact", prefix: "x.test" }, /must not have the key "prefix"/],
    [{}, /must have the key "type"/],
    [[], /must be an object/],
    [{ type: "exactReference" }, /must have the key "dockerReference"/],
    [{ type: "exactReference", dockerReference: "x.test/a" }, /must have a tag or a digest/],
    [{ type: "exactRepository", dockerRepository: "X" }, /"X" is not an image name/],
    [{ type: "remapIdentity", prefix: "x.test" }, /must have the key "signedPrefix"/],
    [{ type: "remapIdentity", prefix: "x.test/a:1", signedPrefix: "y.test" }, /must be a host/],
    [{ type: "remapIdentity", prefix: "library", signedPrefix: "a/b" }, /must be a host/],
  ] as const) {
    test(`refuses ${JSON.stringify(value)}`, () => {
      assert.throws(() => parse(value), why);
    });
  }
});
