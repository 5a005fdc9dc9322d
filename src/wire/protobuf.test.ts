import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { isKind } from "../base/errors.ts";
import {
  ContainerConfigSchema,
  CreateContainerRequestSchema,
  ImageService,
  LinuxContainerSecurityContextSchema,
  MountSchema,
  PodSandboxConfigSchema,
  RunPodSandboxRequestSchema,
  RuntimeService,
  VersionRequestSchema,
} from "../gen/runtime/v1/api_pb.ts";
import {
  decodeBounded,
  decodeMessage,
  decodeRequest,
  embeddedMessage,
  uncheckedBytes,
  maxMessageCost,
} from "./protobuf.ts";

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 127) | 128);
  }
}

/** A field with its length before its bytes; `wireType` is 2 unless a test needs a wrong one. */
function field(number: number, body: Uint8Array, wireType = 2): Buffer {
  return Buffer.concat([varint((number << 3) | wireType), varint(body.length), body]);
}

function repeated(unit: Buffer, count: number): Buffer {
  return Buffer.alloc(unit.length * count, unit);
}

const inConfig = (number: number, wireType = 2): Buffer => field(number, Buffer.alloc(0), wireType);
const { config } = CreateContainerRequestSchema.field;
const { args, mounts, labels } = ContainerConfigSchema.field;
const tooMuch = { kind: "resource-exhausted" };

describe("decodeMessage()", () => {
  test("drops fields that the schema does not have", () => {
    const unknown = Buffer.concat([varint(200 << 3), varint(7), field(201, Buffer.from("x"))]);
    const bytes = Buffer.concat([toBinary(VersionRequestSchema, versionRequest), unknown]);
    assert.equal(fromBinary(VersionRequestSchema, bytes).$unknown?.length, 2);
    const message = decodeMessage(VersionRequestSchema, bytes);
    assert.equal(message.$unknown, undefined);
    assert.equal(message.version, "v1");
  });

  test("names the type of a malformed message", () => {
    assert.throws(() => decodeMessage(VersionRequestSchema, Buffer.from([0xff])), {
      kind: "data-loss",
      message: /^malformed runtime\.v1\.VersionRequest: /,
    });
  });
});

const versionRequest = create(VersionRequestSchema, { version: "v1" });

describe("decodeBounded()", () => {
  test("rejects messages whose decoding needs too much memory", () => {
    const count = maxMessageCost;
    const keys = Array.from({ length: count / 2 }, (_, i) =>
      field(labels.number, field(1, Buffer.from(String(i)))),
    );
    const groups = LinuxContainerSecurityContextSchema.field.supplementalGroups;
    const bad: Readonly<Record<string, readonly [DescMessage, Buffer]>> = {
      "unknown numbers": [VersionRequestSchema, repeated(Buffer.from([0x50, 1]), count)],
      "empty strings": [CreateContainerRequestSchema, repeated(inConfig(args.number), count)],
      "empty messages": [
        CreateContainerRequestSchema,
        repeated(inConfig(mounts.number), count / 8),
      ],
      "entries of a map": [CreateContainerRequestSchema, Buffer.concat(keys)],
      "packed numbers": [
        LinuxContainerSecurityContextSchema,
        field(groups.number, Buffer.alloc(count, 1)),
      ],
    };
    for (const [what, [schema, bytes]] of Object.entries(bad)) {
      const message = schema === CreateContainerRequestSchema ? field(config.number, bytes) : bytes;
      assert.throws(() => decodeBounded(schema, message), tooMuch, what);
      // Without the limit it is a valid message.
      decodeMessage(schema, message);
    }
  });

  test("accepts a container with 50,000 environment variables", () => {
    const config = create(ContainerConfigSchema, {
      envs: Array.from({ length: 50_000 }, (_, i) => ({
        key: `SERVICE_${i}_PORT_443_TCP_ADDR`,
        value: Buffer.from("10.96.0.1"),
      })),
    });
    const bytes = toBinary(ContainerConfigSchema, config);
    assert.ok(bytes.length > uncheckedBytes);
    assert.equal(decodeBounded(ContainerConfigSchema, bytes).envs.length, 50_000);
  });

  test("counts fields as the decoder reads them, not by their wire type", () => {
    const empties = repeated(inConfig(mounts.number), maxMessageCost / 8);
    // The decoder reads a length for a message, even if the wire type is a number.
    const asNumber = repeated(inConfig(mounts.number, 0), maxMessageCost / 8);
    // A mount with a length beyond its config is longer than the config for the decoder, too.
    const mappings = repeated(inConfig(MountSchema.field.uidMappings.number), maxMessageCost / 4);
    const head = Buffer.concat([varint((mounts.number << 3) | 2), varint(mappings.length)]);
    const beyond = Buffer.concat([field(config.number, head), mappings]);
    for (const bytes of [
      field(config.number, empties, 0),
      field(config.number, asNumber),
      beyond,
    ]) {
      assert.throws(() => decodeBounded(CreateContainerRequestSchema, bytes), tooMuch);
    }
  });

  test("rejects large messages with groups, and malformed ones", () => {
    const groups = repeated(Buffer.from([0x53, 0x54]), uncheckedBytes);
    assert.throws(() => decodeBounded(VersionRequestSchema, groups), {
      kind: "data-loss",
      message: /field 10 is a group/,
    });
    const cut = field(args.number, Buffer.alloc(uncheckedBytes)).subarray(0, -1);
    assert.throws(() => decodeBounded(ContainerConfigSchema, cut), { kind: "data-loss" });
  });

  test("need not check small messages: no request of that size can cost too much", () => {
    const dearest = Math.max(...listTypes().map((type) => 1 + type.fields.length));
    assert.ok(dearest > 1);
    assert.ok((uncheckedBytes / 2) * dearest <= maxMessageCost, `one costs ${dearest}`);
  });
});

/** The messages in lists anywhere in a request. */
function listTypes(): readonly DescMessage[] {
  const seen = new Set<DescMessage>();
  const inLists = new Set<DescMessage>();
  const visit = (schema: DescMessage): void => {
    if (seen.has(schema)) return;
    seen.add(schema);
    for (const { message, fieldKind } of schema.fields) {
      if (message === undefined) continue;
      if (fieldKind !== "message") inLists.add(message);
      visit(message);
    }
  };
  for (const service of [RuntimeService, ImageService]) {
    for (const method of service.methods) visit(method.input);
  }
  return [...inLists];
}

test("decodeRequest() names the method, and distinguishes a malformed request from an expensive one", () => {
  const method = RuntimeService.method.version;
  assert.equal(decodeRequest(method, Buffer.alloc(0)).version, "");
  assert.throws(() => decodeRequest(method, Buffer.from([0xff])), {
    kind: "invalid-argument",
    message: /^read Version: malformed runtime\.v1\.VersionRequest: /,
  });
  const costly = repeated(Buffer.from([0x50, 1]), maxMessageCost);
  assert.throws(() => decodeRequest(method, costly), tooMuch);
});

test("embeddedMessage() returns the bytes of a message, with unknown fields", () => {
  const unknown = field(999, Buffer.from("of a later version"));
  const pod = Buffer.concat([
    toBinary(PodSandboxConfigSchema, create(PodSandboxConfigSchema, { hostname: "h" })),
    unknown,
  ]);
  const { config: number, runtimeHandler } = RunPodSandboxRequestSchema.field;
  const request = Buffer.concat([
    field(runtimeHandler.number, Buffer.from("kata")),
    field(number.number, pod),
  ]);
  assert.deepEqual(Buffer.from(embeddedMessage(request, number.number)), pod);
  assert.equal(embeddedMessage(request, 77).length, 0);
  const twice = Buffer.concat([request, field(number.number, Buffer.alloc(0))]);
  assert.deepEqual(Buffer.from(embeddedMessage(twice, number.number)), pod);
});

test("embeddedMessage() rejects a malformed message", () => {
  // The decoder accepts it: a message of 2 bytes whose text has 12.
  const overrun = Buffer.from("0a02690c30303030303030303030303012", "hex");
  for (const bytes of [overrun, Buffer.from([0x0a, 5, 1]), Buffer.from([0x0f])]) {
    assert.throws(
      () => embeddedMessage(bytes, 1),
      (error) => isKind(error, "data-loss"),
    );
  }
});
