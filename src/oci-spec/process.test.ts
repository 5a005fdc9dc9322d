import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../base/errors.ts";
import { type KeyValue, KeyValueSchema } from "../gen/runtime/v1/api_pb.ts";
import { configEnv, containerEnv, defaultPath } from "./env.ts";
import { specText } from "./json.ts";
import {
  clampedOomScoreAdj,
  containerProcess,
  processArgs,
  processSpec,
  processUser,
} from "./process.ts";
import { podConfig, specInput } from "./testing/spec-input.ts";

const kv = (key: string, value: string | Uint8Array): KeyValue =>
  create(KeyValueSchema, {
    key,
    value: typeof value === "string" ? new TextEncoder().encode(value) : value,
  });
const invalid = (pattern: RegExp) => (error: unknown) =>
  isKind(error, "invalid-argument") && pattern.test(String(error));

test("processArgs() follows the table of command, args, entrypoint and cmd", () => {
  const table: readonly (readonly [string[], string[], string[], string[], string[]])[] = [
    // command, args, entrypoint, cmd, result
    [[], [], ["e"], ["c"], ["e", "c"]],
    [[], ["a"], ["e"], ["c"], ["e", "a"]],
    [["x"], [], ["e"], ["c"], ["x"]],
    [["x"], ["a"], ["e"], ["c"], ["x", "a"]],
    [[], [], [], ["c"], ["c"]],
    [[], ["a"], [], ["c"], ["a"]],
    [[], [], [""], ["c"], ["c"]],
    [[], [], ["e", ""], [], ["e", ""]],
  ];
  for (const [command, args, entrypoint, cmd, want] of table) {
    assert.deepEqual(processArgs({ command, args }, { entrypoint, cmd }), want);
  }
});

test("processArgs() refuses nothing to run, and a NUL", () => {
  assert.throws(
    () => processArgs({ command: [], args: [] }, { entrypoint: [""], cmd: [] }),
    invalid(/no command/),
  );
  assert.throws(
    () => processArgs({ command: ["a\0b"], args: [] }, { entrypoint: [], cmd: [] }),
    invalid(/NUL/),
  );
});

test("containerEnv() has each key once, at its first position, with its last value", () => {
  const keys = ["PATH", "HOSTNAME", "TERM", "A", "B", "C"];
  for (let seed = 0; seed < 300; seed++) {
    const pick = (n: number, salt: number): string[] =>
      Array.from({ length: n }, (_, i) => keys[(seed * (i + salt) + i * i) % keys.length] ?? "A");
    const image = pick(seed % 5, 3).map((key, i) => `${key}=image${i}`);
    const request = pick(seed % 7, 5).map((key, i) => kv(key, `request${i}`));
    const env = containerEnv({ terminal: seed % 2 === 0, hostname: "h", image, request });
    const ours = [`PATH=${defaultPath}`, ...(seed % 2 === 0 ? ["TERM=xterm"] : []), "HOSTNAME=h"];
    const all = [...ours, ...image, ...configEnv(request).map(([k, v]) => `${k}=${v}`)];
    const keyOf = (line: string): string => line.slice(0, line.indexOf("="));
    assert.deepEqual(env.map(keyOf), [...new Set(all.map(keyOf))]);
    for (const line of env) {
      assert.equal(
        line,
        all.findLast((other) => keyOf(other) === keyOf(line)),
      );
    }
  }
});

test("containerEnv() lets an image unset a variable, and skips a line without a key", () => {
  const env = containerEnv({ terminal: true, hostname: "h", image: ["TERM", "=x"], request: [] });
  assert.deepEqual(env, [`PATH=${defaultPath}`, "HOSTNAME=h"]);
});

test("configEnv() keeps values byte for byte where they are UTF-8", () => {
  for (const value of ["", "=", "a=b", "\n\t ", "äöü 🐋", "\uFEFFbom"]) {
    assert.deepEqual(configEnv([kv("K", value)]), [["K", value]]);
  }
});

test("configEnv() keeps a value that is not UTF-8, and names the key of what no process can have", () => {
  assert.deepEqual(configEnv([kv("LATIN", new Uint8Array([0xe4]))]), [["LATIN", "\udce4"]]);

  const bad = (env: KeyValue, pattern: RegExp): void =>
    assert.throws(() => configEnv([env]), invalid(pattern));
  bad(kv("NUL", "a\0b"), /"NUL" holds a NUL/);
  const most = 65_534;
  assert.equal(configEnv([kv("K", new Uint8Array(most).fill(0xff))])[0]?.[1].length, most);
  bad(kv("K", new Uint8Array(most + 1).fill(0xff)), /"K" is not UTF-8 and has 65535 bytes/);
  bad(kv("", "v"), /key is empty/);
  bad(kv("A=B", "v"), /"A=B"/);
});

test("containerProcess() takes the working directory of request, image, root in this order", () => {
  const image = specInput().image;
  const cwd = (workingDir: string, ofImage: string): string =>
    containerProcess(specInput({ workingDir }, { image: { ...image, workingDir: ofImage } })).cwd;
  assert.equal(cwd("/a", "/b"), "/a");
  assert.equal(cwd("", "/b"), "/b");
  assert.equal(cwd("", "app"), "/app");
  assert.equal(cwd("", ""), "/");
});

test("containerProcess() takes HOSTNAME from the pod, else the node", () => {
  const env = (hostname: string): readonly string[] =>
    containerProcess(specInput({}, { sandbox: { id: "s", config: podConfig({ hostname }) } })).env;
  assert.ok(env("mine").includes("HOSTNAME=mine"));
  assert.ok(env("").includes("HOSTNAME=node-1"));
});

test("processUser() has the primary group among the further ones, sorted and once", () => {
  assert.deepEqual(processUser({ uid: 1n, gid: 9n, supplementalGroups: [12n, 3n, 9n, 3n] }), {
    uid: 1,
    gid: 9,
    additionalGids: [3, 9, 12],
  });
  assert.throws(
    () => processUser({ uid: 0xffff_ffffn, gid: 0n, supplementalGroups: [] }),
    invalid(/uid must be/),
  );
});

test("clampedOomScoreAdj() goes no lower than the floor", () => {
  assert.equal(clampedOomScoreAdj(-998n, undefined), -998);
  assert.equal(clampedOomScoreAdj(-998n, -500), -500);
  assert.equal(clampedOomScoreAdj(-998n, 0), 0);
  assert.equal(clampedOomScoreAdj(1000n, 0), 1000);
});

test("containerProcess() always writes an OOM score, so that none is inherited from the monitor", () => {
  assert.equal(containerProcess(specInput()).oomScoreAdj, 0);
});

test("processSpec() is the container's process except for arguments and terminal", () => {
  const input = specInput({ tty: true, linux: { securityContext: { noNewPrivs: true } } });
  const container = containerProcess(input);
  const { terminal: _, args: __, ...rest } = container;
  assert.deepEqual(processSpec(container, { args: ["ls"], terminal: false }), {
    ...rest,
    args: ["ls"],
  });
});

test("processSpec() as another user has that user's groups, its directory, and no ambient capabilities", () => {
  const capabilities = { addAmbientCapabilities: ["NET_RAW"] };
  const securityContext = { capabilities, noNewPrivs: true };
  const container = containerProcess(specInput({ linux: { securityContext } }));
  assert.deepEqual(container.capabilities.ambient, ["CAP_NET_RAW"]);
  const exec = { args: ["ls"], terminal: false, cwd: "/srv" };
  const user = { uid: 1000n, gid: 5n, supplementalGroups: [7n] };
  const { bounding, effective, permitted } = container.capabilities;
  assert.deepEqual(processSpec(container, { ...exec, user }), {
    ...container,
    args: ["ls"],
    cwd: "/srv",
    user: { ...container.user, uid: 1000, gid: 5, additionalGids: [5, 7] },
    capabilities: { bounding, effective, permitted },
  });
  const same = { ...user, uid: BigInt(container.user.uid) };
  assert.deepEqual(
    processSpec(container, { ...exec, user: same }).capabilities,
    container.capabilities,
  );
});

test("processSpec() sets TERM for a terminal unless it is set", () => {
  const plain = containerProcess(specInput());
  assert.deepEqual(processSpec(plain, { args: ["sh"], terminal: true }).env, [
    ...plain.env,
    "TERM=xterm",
  ]);
  const own = containerProcess(specInput({ envs: [kv("TERM", "vt100")] }));
  assert.deepEqual(processSpec(own, { args: ["sh"], terminal: true }).env, own.env);
  assert.throws(() => processSpec(plain, { args: [], terminal: false }), invalid(/empty/));
});

test("specText() writes all digits of a bigint", () => {
  const text = specText({ memory: { limit: 9_223_372_036_854_775_807n, swap: -1n } });
  assert.equal(text, '{"memory":{"limit":9223372036854775807,"swap":-1}}');
});
