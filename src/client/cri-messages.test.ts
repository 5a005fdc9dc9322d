// What davit's records and answers require of the generated code. It is tested here, because src/gen/ has only
// generated files.
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ContainerConfigSchema,
  ExecSyncResponseSchema,
  KeyValueSchema,
  ListContainersResponseSchema,
  PodSandboxConfigSchema,
  PodSandboxState,
  RunPodSandboxRequestSchema,
  Signal,
} from "../gen/runtime/v1/api_pb.ts";

test("a message keeps unknown fields, also nested ones, through decode and encode", () => {
  const known = toBinary(PodSandboxConfigSchema, create(PodSandboxConfigSchema, { hostname: "h" }));
  // Field 1000, length-delimited: what a newer kubelet may send.
  const unknown = Buffer.from([0xc2, 0x3e, 3, 1, 2, 3]);
  const config = Buffer.concat([known, unknown]);
  const request = Buffer.concat([Buffer.from([0x0a, config.length]), config, unknown]);
  const decoded = fromBinary(RunPodSandboxRequestSchema, request);
  assert.equal(decoded.config?.hostname, "h");
  assert.deepEqual(Buffer.from(toBinary(RunPodSandboxRequestSchema, decoded)), request);
});

test("bytes that are not UTF-8 are preserved", () => {
  const value = Uint8Array.from({ length: 256 }, (_, i) => i);
  const variable = create(KeyValueSchema, { key: "K", value });
  assert.deepEqual(fromBinary(KeyValueSchema, toBinary(KeyValueSchema, variable)).value, value);
  const output = create(ExecSyncResponseSchema, { stdout: value, stderr: value.slice(100) });
  const got = fromBinary(ExecSyncResponseSchema, toBinary(ExecSyncResponseSchema, output));
  assert.deepEqual([got.stdout, got.stderr], [value, value.slice(100)]);
});

test("lists concatenate: encoded items after one another are an encoded list", () => {
  const one = (id: string) =>
    toBinary(
      ListContainersResponseSchema,
      create(ListContainersResponseSchema, { containers: [{ id }] }),
    );
  const list = fromBinary(ListContainersResponseSchema, Buffer.concat([one("a"), one("b")]));
  assert.deepEqual(
    list.containers.map((container) => container.id),
    ["a", "b"],
  );
});

test("an unknown enum value is preserved", () => {
  // ContainerConfig.stop_signal = 200.
  const encoded = Buffer.from([0x90, 0x01, 0xc8, 0x01]);
  const config = fromBinary(ContainerConfigSchema, encoded);
  assert.equal(config.stopSignal, 200);
  assert.deepEqual(Buffer.from(toBinary(ContainerConfigSchema, config)), encoded);
  assert.equal(Signal.SIGRTMAX, 65);
  assert.equal(PodSandboxState.SANDBOX_NOTREADY, 1);
});
