/** Requests of the CRI and of cAdvisor, answers of shims: decoded with limits, and encoded again. */
import assert from "node:assert/strict";

import {
  create,
  type DescMessage,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";

import { GetContainerRequestSchema } from "../../../src/gen/containerd/services/containers/v1/containers_pb.ts";
import { CreateTaskRequestSchema } from "../../../src/gen/containerd/task/v3/task_pb.ts";
import {
  ContainerConfigSchema,
  PodSandboxConfigSchema,
  RunPodSandboxRequestSchema,
  UpdateContainerResourcesRequestSchema,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { decodeBounded, decodeRequest, embeddedMessage } from "../../../src/wire/protobuf.ts";
import { attempt, type FuzzTarget } from "../target.ts";

const schemas: readonly DescMessage[] = [
  RunPodSandboxRequestSchema,
  ContainerConfigSchema,
  UpdateContainerResourcesRequestSchema,
  CreateTaskRequestSchema,
  GetContainerRequestSchema,
];

function checkSchema(schema: DescMessage, input: Buffer): void {
  const kinds = ["data-loss", "resource-exhausted"] as const;
  const message = attempt(kinds, () => decodeBounded(schema, input));
  attempt(["invalid-argument", "resource-exhausted"], () =>
    decodeRequest({ name: "Method", input: schema }, input),
  );
  if (message === undefined) return;
  const bytes = toBinary(schema, message);
  assert.deepEqual(toBinary(schema, decodeBounded(schema, bytes)), bytes);
  // Unknown fields are dropped, all others are kept.
  const reference = fromBinary(schema, input, { readUnknownFields: false });
  assert.deepEqual(toBinary(schema, reference), bytes);
}

/** The embedded message is what the decoder finds in the field. */
function checkEmbedded(input: Buffer): void {
  attempt(["data-loss"], () => embeddedMessage(input, 1));
  const whole = attempt(["data-loss", "resource-exhausted"], () =>
    decodeBounded(RunPodSandboxRequestSchema, input),
  );
  if (whole === undefined) return;
  const bytes = toBinary(RunPodSandboxRequestSchema, whole);
  const part = fromBinary(PodSandboxConfigSchema, embeddedMessage(bytes, 1));
  const encode = (config: MessageShape<typeof PodSandboxConfigSchema>): Uint8Array =>
    toBinary(PodSandboxConfigSchema, config, { writeUnknownFields: false });
  assert.deepEqual(encode(part), encode(whole.config ?? create(PodSandboxConfigSchema)));
}

const seeds = (): readonly Buffer[] => {
  const pod = create(PodSandboxConfigSchema, {
    metadata: { name: "p", uid: "u", namespace: "n", attempt: 1 },
    labels: { a: "b" },
    portMappings: [{ containerPort: 80, hostPort: 8080 }],
    linux: { securityContext: { namespaceOptions: { pid: 1 }, supplementalGroups: [1n, 2n] } },
  });
  const container = create(ContainerConfigSchema, {
    metadata: { name: "c" },
    args: ["a", "b"],
    envs: [{ key: "K", value: Buffer.from("V") }],
    mounts: [{ hostPath: "/a", containerPath: "/b", uidMappings: [{ length: 1 }] }],
    linux: { resources: { cpuQuota: -1n, hugepageLimits: [{ pageSize: "2MB" }] } },
  });
  return [
    toBinary(RunPodSandboxRequestSchema, create(RunPodSandboxRequestSchema, { config: pod })),
    toBinary(ContainerConfigSchema, container),
    toBinary(
      UpdateContainerResourcesRequestSchema,
      create(UpdateContainerResourcesRequestSchema, {
        containerId: "id",
        annotations: { a: "b" },
        linux: { unified: { "memory.high": "1" } },
      }),
    ),
    toBinary(CreateTaskRequestSchema, create(CreateTaskRequestSchema, { id: "x", bundle: "/b" })),
  ].map((bytes) => Buffer.from(bytes));
};

export const target: FuzzTarget = {
  name: "protobuf",
  seeds,
  words: [
    "\x0a\x00",
    "\x0a\x02\x0a\x00",
    "\xff\xff\xff\xff\x0f",
    "\x0b",
    "\x0c",
    "\x12\x04\x0a\x00\x12\x00",
  ],
  maxBytes: 96 * 1024,
  limitMs: (bytes) => 400 + bytes / 40,
  check: (input) => {
    for (const schema of schemas) checkSchema(schema, input);
    checkEmbedded(input);
  },
};
