import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { parseImageConfig } from "./parse-config.ts";

const json = (config: object): string => JSON.stringify({ config, rootfs: { diff_ids: [] } });

test("a NUL is rejected in everything that reaches the kernel, with the field", () => {
  const bad = {
    Env: ["PATH=/bin", "C=a\0b"],
    Cmd: ["a\0b"],
    Entrypoint: ["\0"],
    WorkingDir: "/a\0b",
    User: "root\0",
    StopSignal: "SIGTERM\0",
    Volumes: { "/a\0b": {} },
  };
  for (const [field, value] of Object.entries(bad)) {
    assert.throws(
      () => parseImageConfig(json({ [field]: value })),
      (error) => isKind(error, "data-loss") && String(error).includes(`config.${field} has a NUL`),
      field,
    );
  }
});

test("a user that is too long for a name is rejected, because lists of images show it", () => {
  const digits = "9".repeat(257);
  assert.throws(
    () => parseImageConfig(json({ User: digits })),
    (error) => isKind(error, "data-loss") && /config\.User has 257 characters/.test(String(error)),
  );
  assert.equal(parseImageConfig(json({ User: digits.slice(1) })).config.user.length, 256);
});

test("other control characters are allowed", () => {
  const { config } = parseImageConfig(json({ Env: ["A=1\n2\t3"], Cmd: ["sh", "-c", "a\nb"] }));
  assert.deepEqual(config.env, ["A=1\n2\t3"]);
  assert.deepEqual(config.cmd, ["sh", "-c", "a\nb"]);
});

test("half of a surrogate pair becomes U+FFFD, as in Go", () => {
  const { config } = parseImageConfig(
    '{"config":{"Env":["A=a\\udc80b\\ud83d\\ude00"],"User":"\\ud800"}}',
  );
  assert.deepEqual(config.env, ["A=a\ufffdb\u{1f600}"]);
  assert.equal(config.user, "\ufffd");
});

test("a value of the wrong type is rejected, with the field", () => {
  const rootfs = (diffIds: unknown) => JSON.stringify({ rootfs: { diff_ids: diffIds } });
  const bad: readonly (readonly [json: string, why: RegExp])[] = [
    ["{", /it is not JSON/],
    ["[]", /the config is not an object/],
    ['{"config":[]}', /config is not an object/],
    [json({ User: 7 }), /config\.User is not a string/],
    [json({ Env: "A=1" }), /config\.Env is not a list of strings/],
    [json({ Cmd: [1] }), /config\.Cmd is not a list of strings/],
    [json({ Labels: { a: 1 } }), /config\.Labels\.a is not a string/],
    [json({ Volumes: "/data" }), /config\.Volumes is not an object/],
    [rootfs(["sha512:0"]), /rootfs\.diff_ids has "sha512:0"/],
    [rootfs([`sha256:${"A".repeat(64)}`]), /diff_ids has "sha256:A+"/],
    [rootfs(["sha256:../../etc"]), /diff_ids has "sha256:\.\.\/\.\.\/etc"/],
    [rootfs({ 0: "x" }), /rootfs\.diff_ids is not a list/],
    [`{"rootfs":[]}`, /rootfs is not an object/],
    ["null", /the config is not an object/],
    ['"text"', /the config is not an object/],
    [json({ WorkingDir: [] }), /config\.WorkingDir is not a string/],
    [json({ StopSignal: 9 }), /config\.StopSignal is not a string/],
    [json({ Entrypoint: "sh" }), /config\.Entrypoint is not a list/],
    [json({ WorkingDir: "/a\0b" }), /config\.WorkingDir has a NUL in "\/a\\u0000b"/],
    [json({ Volumes: { "/a\0": {} } }), /config\.Volumes has a NUL/],
  ];
  for (const [text, message] of bad) {
    assert.throws(() => parseImageConfig(text), { kind: "data-loss", message });
  }
});

test("absent and null fields have their empty value", () => {
  const empty = {
    entrypoint: [],
    cmd: [],
    env: [],
    workingDir: "",
    user: "",
    stopSignal: "",
    volumes: [],
    labels: {},
  };
  const nulls = { Cmd: null, Env: null, User: null, Labels: null, Volumes: null };
  for (const text of ["{}", '{"config":null,"rootfs":null}', json(nulls)]) {
    assert.deepEqual(parseImageConfig(text), { config: empty, diffIds: [] });
  }
});
