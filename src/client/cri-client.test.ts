import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../base/errors.ts";
import {
  ContainerEventResponseSchema,
  ContainerEventType,
  ImageService,
  ImageStatusRequestSchema,
  ImageStatusResponseSchema,
  PodSandboxState,
  RuntimeService,
  VersionRequestSchema,
  VersionResponseSchema,
} from "../gen/runtime/v1/api_pb.ts";
import type { Method } from "../wire/grpc/call.ts";
import { GrpcStatusError } from "../wire/grpc/status.ts";
import { serve } from "../wire/grpc/testing/serving.ts";
import { CriClient, parseEndpoint } from "./cri-client.ts";

const version: Method = {
  kind: "unary",
  handle: async (bytes) => {
    const request = fromBinary(VersionRequestSchema, bytes);
    const answer = create(VersionResponseSchema, { version: `${request.version}!` });
    return toBinary(VersionResponseSchema, answer);
  },
};

const events: Method = {
  kind: "server-stream",
  async *handle() {
    for (const containerId of ["a", "b"]) {
      const event = create(ContainerEventResponseSchema, {
        containerId,
        containerEventType: ContainerEventType.CONTAINER_STOPPED_EVENT,
        podSandboxStatus: { state: PodSandboxState.SANDBOX_NOTREADY, createdAt: 2n ** 60n },
      });
      yield toBinary(ContainerEventResponseSchema, event);
    }
  },
};

const imageStatus: Method = {
  kind: "unary",
  handle: async (bytes) => {
    const { image } = fromBinary(ImageStatusRequestSchema, bytes);
    if (image?.image === "broken") throw new RuntimeError("data-loss", "image is broken");
    return toBinary(ImageStatusResponseSchema, create(ImageStatusResponseSchema));
  },
};

const methods = new Map<string, Method>([
  ["/runtime.v1.RuntimeService/Version", version],
  ["/runtime.v1.RuntimeService/GetContainerEvents", events],
  ["/runtime.v1.ImageService/ImageStatus", imageStatus],
]);

test("CriClient has a function for every method of both services", () => {
  using client = new CriClient("unix:///nowhere.sock");
  for (const [object, service] of [
    [client.runtime, RuntimeService],
    [client.image, ImageService],
  ] as const) {
    const names = service.methods.map((method) => method.localName);
    assert.deepEqual(Object.keys(object), names);
  }
  assert.equal(Object.keys(client.runtime).length + Object.keys(client.image).length, 43);
});

test("CriClient calls by unix:// and by path, typed both ways", async () => {
  await using serving = await serve({}, { methods });
  for (const endpoint of [`unix://${serving.path}`, serving.path]) {
    using client = new CriClient(endpoint);
    const answer = await client.runtime.version({ version: "v1" }, { timeoutMs: 10_000 });
    assert.equal(answer.version, "v1!");
    assert.equal((await client.image.imageStatus({ image: { image: "x" } })).image, undefined);
  }
});

test("CriClient returns a stream as an async iterable", async () => {
  await using serving = await serve({}, { methods });
  using client = new CriClient(serving.path);
  const got: unknown[] = [];
  for await (const event of client.runtime.getContainerEvents({})) {
    got.push([event.containerId, event.containerEventType, event.podSandboxStatus?.createdAt]);
  }
  assert.deepEqual(got, [
    ["a", ContainerEventType.CONTAINER_STOPPED_EVENT, 2n ** 60n],
    ["b", ContainerEventType.CONTAINER_STOPPED_EVENT, 2n ** 60n],
  ]);
});

test("CriClient throws the status of the server, also for unimplemented methods", async () => {
  await using serving = await serve({}, { methods });
  using client = new CriClient(serving.path);
  await assert.rejects(client.image.imageStatus({ image: { image: "broken" } }), (error) => {
    assert.ok(error instanceof GrpcStatusError);
    assert.deepEqual([error.kind, error.message], ["data-loss", "image is broken"]);
    return true;
  });
  await assert.rejects(client.runtime.listContainers({}), { kind: "unimplemented" });
  const streamed = async () => {
    for await (const _ of client.image.streamImages({})) assert.fail("an image");
  };
  await assert.rejects(streamed, { kind: "unimplemented" });
});

test("parseEndpoint() rejects other endpoints than unix sockets", () => {
  assert.equal(parseEndpoint("unix:///run/d.sock"), "/run/d.sock");
  assert.equal(parseEndpoint("/run/d.sock"), "/run/d.sock");
  for (const endpoint of ["", "run/d.sock", "unix://run/d.sock", "tcp://1.2.3.4:5"]) {
    assert.throws(() => parseEndpoint(endpoint), { kind: "invalid-argument" }, endpoint);
  }
});
