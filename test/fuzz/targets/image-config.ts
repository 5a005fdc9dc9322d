/** Configs of images: JSON that whoever made the image has written. */
import assert from "node:assert/strict";

import fc from "fast-check";

import { isDigest } from "../../../src/base/digest.ts";
import { configRuns } from "../../../src/drivers/registry/index-entries.ts";
import { parseImageConfig } from "../../../src/engine/image/parse-config.ts";
import { attempt, type FuzzTarget, jsonSeeds } from "../target.ts";

const text = fc.oneof(
  fc.string({ maxLength: 12, unit: "binary" }),
  fc.constantFrom("a\0b", "\ud800", "__proto__"),
);
const texts = fc.oneof(
  { weight: 9, arbitrary: fc.array(text, { maxLength: 4 }) },
  { weight: 1, arbitrary: fc.jsonValue() },
);
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null | undefined> =>
  fc.option(fc.option(arbitrary, { nil: undefined, freq: 3 }), { nil: null, freq: 9 });
const config = fc.record({
  architecture: fc.constantFrom("amd64", "arm64", ""),
  os: fc.constant("linux"),
  config: fc.record({
    Entrypoint: optional(texts),
    Cmd: optional(texts),
    Env: optional(texts),
    WorkingDir: optional(text),
    User: optional(text),
    StopSignal: optional(text),
    Volumes: optional(fc.dictionary(text, fc.constant({}), { maxKeys: 3 })),
    Labels: optional(fc.dictionary(text, text, { maxKeys: 3 })),
  }),
  rootfs: fc.record({
    diff_ids: fc.array(fc.constantFrom(`sha256:${"0".repeat(64)}`, "sha256:0", ""), {
      maxLength: 2,
    }),
  }),
});

export const target: FuzzTarget = {
  name: "image-config",
  seeds: () =>
    jsonSeeds(
      {},
      {
        config: {
          Cmd: ["sh"],
          Env: ["A=b"],
          User: "1:2",
          Volumes: { "/v": {} },
          Labels: { a: "b" },
        },
      },
      {
        architecture: "amd64",
        os: "linux",
        rootfs: { type: "layers", diff_ids: [`sha256:${"1".repeat(64)}`] },
      },
      { config: null, rootfs: null },
      { schemaVersion: 2 },
    ),
  words: [
    '"config":{',
    '"Env":[',
    '"User":"',
    "\\u0000",
    "\\ud800",
    '"__proto__":',
    "null",
    "[[[[",
  ],
  structured: config.map((value) => Buffer.from(JSON.stringify(value))),
  check: (input) => {
    configRuns(input, { os: "linux", architecture: "amd64", variant: "" });
    const found = attempt(["data-loss"], () => parseImageConfig(input.toString("utf8")));
    if (found === undefined) return;
    const { entrypoint, cmd, env, workingDir, user, stopSignal, volumes, labels } = found.config;
    const all = [...entrypoint, ...cmd, ...env, ...volumes, workingDir, user, stopSignal];
    for (const one of all) assert.ok(!one.includes("\0") && one.isWellFormed());
    assert.ok(found.diffIds.every(isDigest) && user.length <= 256);
    // What was read, written as a config, means the same.
    const again = {
      config: {
        Entrypoint: entrypoint,
        Cmd: cmd,
        Env: env,
        WorkingDir: workingDir,
        User: user,
        StopSignal: stopSignal,
        Volumes: Object.fromEntries(volumes.map((volume) => [volume, {}])),
        Labels: labels,
      },
      rootfs: { diff_ids: found.diffIds },
    };
    assert.deepEqual(parseImageConfig(JSON.stringify(again)).config.labels, labels);
    assert.deepEqual(
      new Set(parseImageConfig(JSON.stringify(again)).config.volumes),
      new Set(volumes),
    );
  },
};
