import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import {
  ContainerStatusRequestSchema,
  ContainerStatusResponseSchema,
  ListContainersResponseSchema,
  ListImagesResponseSchema,
  ListPodSandboxResponseSchema,
  RemoveImageRequestSchema,
  RemoveImageResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import { main } from "../main.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";

function unary<Desc extends DescMessage>(schema: Desc, answer: MessageInitShape<Desc>): Method {
  return { kind: "unary", handle: async () => toBinary(schema, create(schema, answer)) };
}

const idOf = (digit: string): string => `sha256:${digit.repeat(64)}`;
const image = (name: string, digit: string, pinned: boolean) => ({
  id: idOf(digit),
  repoTags: [`docker.io/library/${name}:latest`],
  pinned,
});

/** Runs `davit rmi` on a node where the container "user" has the image "model" as a volume. */
async function rmi(...words: readonly string[]) {
  const removed: string[] = [];
  const asked: string[] = [];
  const containers = ["gone", "user"].map((id) => ({
    id,
    metadata: { name: id },
    imageId: idOf("f"),
  }));
  const methods = new Map<string, Method>(
    Object.entries({
      "RuntimeService/ListPodSandbox": unary(ListPodSandboxResponseSchema, {}),
      "RuntimeService/ListContainers": unary(ListContainersResponseSchema, { containers }),
      "RuntimeService/ContainerStatus": {
        kind: "unary",
        handle: async (request) => {
          const { containerId } = fromBinary(ContainerStatusRequestSchema, request);
          asked.push(containerId);
          if (containerId === "gone") throw new RuntimeError("not-found", "it is gone");
          const status = { mounts: [{ hostPath: "/h" }, { image: { imageRef: idOf("b") } }] };
          const answer = create(ContainerStatusResponseSchema, { status });
          return toBinary(ContainerStatusResponseSchema, answer);
        },
      },
      "ImageService/ListImages": unary(ListImagesResponseSchema, {
        images: [image("model", "b", true), image("kept", "c", true), image("plain", "d", false)],
      }),
      "ImageService/RemoveImage": {
        kind: "unary",
        handle: async (request) => {
          removed.push(fromBinary(RemoveImageRequestSchema, request).image?.image ?? "");
          return toBinary(RemoveImageResponseSchema, create(RemoveImageResponseSchema));
        },
      },
    } satisfies Record<string, Method>).map(([name, method]) => [`/runtime.v1.${name}`, method]),
  );
  await using serving = await serve({}, { methods });
  const terminal = recordedTerminal();
  const code = await main(["rmi", ...words, "--endpoint", serving.path], terminal);
  return { code, err: terminal.written.err, removed, asked };
}

test("davit rmi requires --force for the image of an image volume", async () => {
  const refused = await rmi("model");
  assert.match(refused.err, /remove image "model": container "user" uses it; .*--force/);
  assert.deepEqual([refused.code, refused.removed], [1, []]);
  const forced = await rmi("--force", "model");
  assert.deepEqual([forced.code, forced.removed, forced.asked], [0, [idOf("b")], []]);
});

test("davit rmi removes a pinned image that no container has, and asks nothing for others", async () => {
  assert.deepEqual((await rmi("kept")).removed, [idOf("c")]);
  const plain = await rmi("plain");
  assert.deepEqual([plain.removed, plain.asked], [[idOf("d")], []]);
  assert.deepEqual((await rmi("--unused")).removed, [idOf("d")]);
});
