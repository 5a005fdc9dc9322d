import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  formatPlatform,
  type Platform,
  platformRank,
  thisPlatform,
  x86LevelOf,
} from "./platform.ts";

const linux = (architecture: string, variant = ""): Platform => ({
  os: "linux",
  architecture,
  variant,
});

/** What of `offered` runs on `node`, best first. */
const order = (node: Platform, offered: readonly Platform[], level = 1): readonly string[] =>
  offered
    .flatMap((platform) => {
      const rank = platformRank(node, platform, () => level);
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

  test("takes images for a newer amd64 after the plain ones, if the processor suffices", () => {
    const levels = ["386", "amd64"].map((name) => linux(name));
    const newer = ["v4", "v2", "v3", "v5", "x"].map((variant) => linux("amd64", variant));
    assert.deepEqual(order(linux("amd64"), [...levels, ...newer], 3), [
      "linux/amd64",
      "linux/amd64/v3",
      "linux/amd64/v2",
      "linux/386",
    ]);
    assert.deepEqual(order(linux("arm64", "v8"), newer, 4), []);
  });

  test("knows other spellings, and takes a missing operating system for the node's", () => {
    const spelled = [
      linux("aarch64"),
      linux("ARM64", "8"),
      { os: "Linux", architecture: "arm64", variant: "V8" },
      { os: "", architecture: "arm64", variant: "" },
    ];
    for (const one of spelled) assert.equal(platformRank(linux("arm64", "v8"), one), 0);
    assert.equal(platformRank(linux("arm", "v7"), linux("armhf")), 0);
    assert.equal(platformRank(linux("arm", "v6"), linux("armel")), 0);
    assert.equal(platformRank(linux("arm", "v6"), linux("arm", "6")), 0);
    assert.equal(platformRank(linux("amd64"), linux("x86_64")), 0);
    assert.equal(order(linux("amd64"), [linux("i386", "sse2")]).length, 1);
    assert.equal(platformRank(linux("amd64"), linux("")), undefined);
  });

  test("takes a missing variant for the usual one", () => {
    assert.equal(platformRank(linux("arm64", "v8"), linux("arm64")), 0);
    assert.equal(platformRank(linux("arm", "v7"), linux("arm")), 0);
    assert.equal(platformRank(linux("arm", "v6"), linux("arm")), undefined);
    assert.equal(platformRank(linux("amd64"), linux("amd64", "v1")), 0);
  });
});

test("x86LevelOf() needs every flag of a level and of those below it", () => {
  const [v2, v3, v4] = [
    "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave",
    "avx512f avx512bw avx512cd avx512dq avx512vl",
  ].map((flags) => flags.split(" "));
  assert.ok(v2 && v3 && v4);
  assert.equal(x86LevelOf([]), 1);
  assert.equal(x86LevelOf(v2), 2);
  assert.equal(x86LevelOf([...v2, ...v3.slice(1), ...v4]), 2);
  assert.equal(x86LevelOf([...v2, ...v3]), 3);
  assert.equal(x86LevelOf([...v3, ...v4]), 1);
  assert.equal(x86LevelOf([...v2, ...v3, ...v4]), 4);
});

test("thisPlatform() is one that this machine can run", () => {
  assert.equal(thisPlatform().os, "linux");
  assert.equal(platformRank(thisPlatform(), thisPlatform()), 0);
});
