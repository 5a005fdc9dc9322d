import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { matchesImage, parseImagePattern } from "./match-image.ts";

const matches = (pattern: string, image: string): boolean => {
  const parsed = parseImagePattern(pattern);
  assert.ok(parsed !== undefined, pattern);
  return matchesImage(parsed, image);
};

describe("matchesImage()", () => {
  test("follows kubelet's documentation of matchImages", () => {
    for (const [pattern, image] of [
      ["123456789.dkr.ecr.us-east-1.amazonaws.com", "123456789.dkr.ecr.us-east-1.amazonaws.com/x"],
      ["*.azurecr.io", "team.azurecr.io/x"],
      ["gcr.io", "gcr.io/project/x"],
      ["*.*.registry.io", "a.b.registry.io/x"],
      ["registry.io:8080/path", "registry.io:8080/path/x"],
      ["registry.io/pa", "registry.io/path/x"],
      ["*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/x"],
      ["app*.k8s.io", "app1.k8s.io/x"],
      ["*p*1.io", "app-11.io/x"],
      ["*", "localhost/x"],
    ] as const) {
      assert.ok(matches(pattern, image), `${pattern} ${image}`);
    }
    for (const [pattern, image] of [
      ["*.io", "a.b.io/x"],
      ["registry.io", "registry.io:8080/x"],
      ["registry.io:8080", "registry.io/x"],
      ["*.registry.io", "registry.io/x"],
      ["registry.io/path", "registry.io/other"],
      ["ap*pp.io", "app.io/x"],
      ["*a*b.io", "ba.io/x"],
    ] as const) {
      assert.ok(!matches(pattern, image), `${pattern} ${image}`);
    }
  });

  test("is fast for a pattern of many stars", () => {
    const pattern = `${"*a".repeat(100)}b.io`;
    assert.ok(!matches(pattern, `${"a".repeat(250)}.io/x`));
  });

  test("has no patterns of other forms", () => {
    for (const text of ["", "/path", "a b.io", "https://a.io", "a?.io", "[a-z].io", "a.io:port"]) {
      assert.equal(parseImagePattern(text), undefined, text);
    }
  });
});
