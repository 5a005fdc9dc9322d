import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { formatPlatform, type Platform, platformRank, thisPlatform } from "./platform.ts";

const linux = (architecture: string, variant = ""): Platform => ({
  os: "linux",
  architecture,
  variant,
});

/** What of `offered` runs on `node`, best first. */
const order = (node: Platform, offered: readonly Platform[]): readonly string[] =>
  offered
    .flatMap((platform) => {
      const rank = platformRank(node, platform);
      return rank === undefined ? [] : [{ platform, rank }];
    })
    .sort((a, b) => a.rank - b.rank)
    .map(({ platform }) => formatPlatform(platform));

describe("platformRank()", () => {
  const all = [
    linux("arm", "v5"),
    linux("arm", "v6"),
    linux("arm", "v7"),
    linux("arm64", "v8"),
    linux("amd64"),
    linux("386"),
    linux("amd64", "v3"),
    linux("riscv64"),
    { os: "windows", architecture: "amd64", variant: "" },
  ];

  test("prefers what is made for the machine, and takes what it can run", () => {
    assert.deepEqual(order(linux("amd64"), all), ["linux/amd64", "linux/386"]);
    assert.deepEqual(order(linux("arm64", "v8"), all), [
      "linux/arm64/v8",
      "linux/arm/v7",
      "linux/arm/v6",
      "linux/arm/v5",
    ]);
    assert.deepEqual(order(linux("arm", "v6"), all), ["linux/arm/v6", "linux/arm/v5"]);
    assert.deepEqual(order(linux("riscv64"), all), ["linux/riscv64"]);
    assert.deepEqual(order(linux("s390x"), all), []);
  });

  test("takes a missing variant for the usual one", () => {
    assert.equal(platformRank(linux("arm64", "v8"), linux("arm64")), 0);
    assert.equal(platformRank(linux("arm", "v7"), linux("arm")), 0);
    assert.equal(platformRank(linux("arm", "v6"), linux("arm")), undefined);
    assert.equal(platformRank(linux("amd64"), linux("amd64", "v1")), 0);
  });
});

test("thisPlatform() is one that this machine can run", () => {
  assert.equal(thisPlatform().os, "linux");
  assert.equal(platformRank(thisPlatform(), thisPlatform()), 0);
});
