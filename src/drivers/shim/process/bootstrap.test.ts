import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { kindOf } from "../../../base/errors.ts";
import {
  BootstrapParamsSchema,
  BootstrapResultSchema,
  LogLevel,
} from "../../../gen/containerd/runtime/bootstrap/v1/bootstrap_pb.ts";
import { asksForParams, bootstrapInput, parseBootstrap as parse } from "./bootstrap.ts";

const parseBootstrap = (text: string): ReturnType<typeof parse> => parse(Buffer.from(text));

const resultOf = (init: MessageInitShape<typeof BootstrapResultSchema>): Uint8Array =>
  toBinary(BootstrapResultSchema, create(BootstrapResultSchema, init));

describe("bootstrapInput()", () => {
  const options = create(AnySchema, {
    typeUrl: "runtimeoptions.v1.Options",
    value: Uint8Array.of(1),
  });
  const facts = {
    id: "pod-1",
    namespace: "k8s.io",
    eventsPath: "/run/davit/shims/events.sock",
    publishBinary: "/usr/libexec/davit-publish",
    socketDirectory: "/run/davit/shims/s",
    options,
  };

  it("is the options alone, or the parameters of containerd 2.3 with them", () => {
    assert.deepEqual(fromBinary(AnySchema, bootstrapInput("options", facts)), options);
    const params = fromBinary(BootstrapParamsSchema, bootstrapInput("params", facts));
    const expected = create(BootstrapParamsSchema, {
      instanceId: "pod-1",
      namespace: "k8s.io",
      logLevel: LogLevel.INFO,
      containerdVersion: "2.3.0",
      containerdTtrpcAddress: facts.eventsPath,
      containerdGrpcAddress: facts.eventsPath,
      containerdBinary: facts.publishBinary,
      extensions: [{ value: options }],
      socketDir: facts.socketDirectory,
    });
    assert.deepEqual(params, expected);
    const own = bootstrapInput("params", { ...facts, socketDirectory: undefined });
    assert.equal(fromBinary(BootstrapParamsSchema, own).socketDir, undefined);
  });
});

describe("asksForParams()", () => {
  it("recognizes how shims of containerd 2.3 refuse the options alone", () => {
    for (const [text, expected] of [
      [
        "io.containerd.runc.v2: shim was started through the deprecated API but was built against the new API",
        true,
      ],
      ["bootstrap parameters do not match command-line arguments: ...", true],
      ["failed to unmarshal bootstrap parameters: proto: ...", true],
      ["open config.json: no such file or directory", false],
    ] as const) {
      assert.equal(asksForParams(text), expected, text);
    }
  });
});

describe("parseBootstrap()", () => {
  it("parses a BootstrapResult", () => {
    const address = "unix:///run/davit/shims/s/1";
    for (const protocol of ["ttrpc", "TTRPC", ""]) {
      const result = resultOf({ version: 3, address, protocol, metadata: { key: "value" } });
      assert.deepEqual(parse(result), { version: 3, socketPath: "/run/davit/shims/s/1" });
    }
    const wrong = (init: MessageInitShape<typeof BootstrapResultSchema>): (() => unknown) => {
      return () => parse(resultOf({ version: 3, address, ...init }));
    };
    const kind = "failed-precondition";
    assert.throws(wrong({ protocol: "grpc" }), { kind, message: /must be "ttrpc"; it is "grpc"/ });
    assert.throws(wrong({ version: 4 }), { kind, message: /it is 4$/ });
    assert.throws(wrong({ version: 0 }), { kind, message: /it is 0$/ });
    assert.throws(wrong({ address: "vsock://3:1024" }), { kind, message: /unix socket/ });
    assert.throws(() => parse(Buffer.from([0x08, 3, 0x12, 200])), { kind: "unavailable" });
  });

  it("parses a bare address as version 2, and JSON", () => {
    assert.deepEqual(parseBootstrap("unix:///run/s/1\n"), { version: 2, socketPath: "/run/s/1" });
    assert.deepEqual(parseBootstrap("/run/s/1"), { version: 2, socketPath: "/run/s/1" });
    assert.deepEqual(parseBootstrap("unix://@name"), { version: 2, socketPath: "\0name" });
    const json = '{"version":3,"address":"unix:///run/s/2","protocol":"ttrpc"}';
    assert.deepEqual(parseBootstrap(json), { version: 3, socketPath: "/run/s/2" });
    const older = '{"version":2,"address":"unix:///run/s/2"}';
    assert.deepEqual(parseBootstrap(older), { version: 2, socketPath: "/run/s/2" });
  });

  it("rejects other versions, protocols and addresses", () => {
    const of = (answer: string): string => {
      try {
        parseBootstrap(answer);
        return "nothing";
      } catch (error) {
        return kindOf(error);
      }
    };
    assert.equal(
      of('{"version":3,"address":"unix:///s","protocol":"grpc"}'),
      "failed-precondition",
    );
    assert.equal(of('{"version":4,"address":"unix:///s"}'), "failed-precondition");
    assert.equal(of("tcp://127.0.0.1:1"), "failed-precondition");
    for (const none of ["", "  \n", "{", '{"version":3}']) assert.equal(of(none), "unavailable");
  });
});
