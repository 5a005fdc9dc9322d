import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type KeyValue, KeyValueSchema } from "../gen/runtime/v1/api_pb.ts";
import { execEnv } from "./exec-env.ts";
import { containerProcess, processSpec } from "./process.ts";
import { specInput } from "./testing/spec-input.ts";

const kv = (key: string, value: string | Uint8Array<ArrayBuffer>): KeyValue =>
  create(KeyValueSchema, { key, value: typeof value === "string" ? Buffer.from(value) : value });

test("execEnv() takes values literally, and the last one of a key", () => {
  const envs = [
    kv("A", "1"),
    kv("B", "$A ${A} %A%"),
    kv("A", "2"),
    kv("EMPTY", ""),
    kv("U", "ü🐋=\n"),
  ];
  assert.deepEqual(execEnv("c", envs), ["A=2", "B=$A ${A} %A%", "EMPTY=", "U=ü🐋=\n"]);
  assert.deepEqual(execEnv("c", []), []);
});

test("execEnv() refuses what a command cannot have, and shows no value", () => {
  const many = Array.from({ length: 513 }, (_, index) => kv(`K${index}`, ""));
  for (const [envs, why] of [
    [[kv("", "v")], /^exec in container "c": envs: a key is empty$/],
    [[kv("A=B", "v")], /a key cannot hold "=" or NUL, got "A=B"/],
    [[kv("A", "secret\0")], /the value of "A" holds a NUL$/],
    [[kv("A", new Uint8Array([0xe4]))], /the value of "A" is not UTF-8$/],
    [many, /at most 512 variables can be set, got 513/],
    [[kv("A", "x".repeat(65_535)), kv("B", "")], /65536 bytes/],
  ] as const) {
    assert.throws(() => execEnv("c", envs), { kind: "invalid-argument", message: why });
  }
  assert.equal(execEnv("c", many.slice(1)).length, 512);
});

test("processSpec() lets the variables of a command replace those of the container", () => {
  const container = containerProcess(specInput({ envs: [kv("LEVEL", "info"), kv("KEPT", "1")] }));
  const own = ["LEVEL=debug", "NEW=x"];
  const { env } = processSpec(container, { args: ["sh"], terminal: false, env: own });
  assert.deepEqual(env.slice(-3), ["KEPT=1", "LEVEL=debug", "NEW=x"]);
  assert.ok(!env.includes("LEVEL=info"));
  const withTerm = { args: ["sh"], terminal: true, env: ["TERM=dumb"] };
  const terms = processSpec(container, withTerm).env.filter((line) => line.startsWith("TERM="));
  assert.deepEqual(terms, ["TERM=dumb"]);
});
