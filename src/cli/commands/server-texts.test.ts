import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import {
  ContainerEventResponseSchema,
  ImageStatusResponseSchema,
  ListContainersResponseSchema,
  ListImagesResponseSchema,
  ListPodSandboxResponseSchema,
  PullImageResponseSchema,
  StatusResponseSchema,
  VersionResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import { main } from "../main.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";

/** Sets the clipboard, moves the cursor, and clears the screen with a C1 control. */
const hostile = "x\u001b]52;c;eA==\u0007\u001b[5;5H\u009b2J\u007f";

function unary<Desc extends DescMessage>(schema: Desc, answer: MessageInitShape<Desc>): Method {
  return { kind: "unary", handle: async () => toBinary(schema, create(schema, answer)) };
}

let pulls = 0;
const methods = new Map<string, Method>(
  Object.entries({
    "RuntimeService/Version": unary(VersionResponseSchema, {
      runtimeName: hostile,
      runtimeVersion: hostile,
      runtimeApiVersion: hostile,
    }),
    "RuntimeService/Status": unary(StatusResponseSchema, {
      status: { conditions: [{ type: hostile, status: false, reason: hostile, message: hostile }] },
      runtimeHandlers: [{ name: hostile, features: {} }],
      info: { config: hostile },
    }),
    "RuntimeService/ListPodSandbox": unary(ListPodSandboxResponseSchema, {}),
    "RuntimeService/ListContainers": unary(ListContainersResponseSchema, {}),
    "RuntimeService/GetContainerEvents": {
      kind: "server-stream",
      async *handle(_request, call) {
        const event = { containerId: hostile, podSandboxStatus: { id: hostile } };
        yield toBinary(ContainerEventResponseSchema, create(ContainerEventResponseSchema, event));
        if (!call.signal.aborted) throw new RuntimeError("unimplemented", "the end of the test");
      },
    },
    "ImageService/ListImages": unary(ListImagesResponseSchema, {}),
    "ImageService/ImageStatus": unary(ImageStatusResponseSchema, {
      image: { id: hostile, repoTags: [hostile], size: 1n },
    }),
    "ImageService/PullImage": {
      kind: "unary",
      handle: async () => {
        pulls += 1;
        if (pulls % 2 === 0) throw new RuntimeError("unavailable", hostile);
        return toBinary(
          PullImageResponseSchema,
          create(PullImageResponseSchema, { imageRef: hostile }),
        );
      },
    },
  } satisfies Record<string, Method>).map(([name, method]) => [`/runtime.v1.${name}`, method]),
);

for (const words of [
  ["version"],
  ["info"],
  ["info", "-o", "json"],
  ["events", "-o", "json"],
  ["events"],
  ["pull", "a", "b"],
  ["pull", "-q", "a", "b"],
]) {
  test(`davit ${words.join(" ")} prints no control character of a server`, async () => {
    await using serving = await serve({}, { methods });
    const terminal = recordedTerminal();
    await main([...words, "--endpoint", serving.path], terminal);
    const { out, err } = terminal.written;
    assert.match(out, /x(\?|\\u001b)\]52;c;eA==/, err);
    assert.doesNotMatch(out + err, /(?!\n)[\u0000-\u001f\u007f-\u009f]/);
  });
}
