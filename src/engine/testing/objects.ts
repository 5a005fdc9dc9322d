import {
  create,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { CreateContainerRequest } from "../../core/container/index.ts";
import type { RunPodSandboxRequest } from "../../core/sandbox/index.ts";
import {
  ContainerConfigSchema,
  CreateContainerRequestSchema,
  PodSandboxConfigSchema,
  RunPodSandboxRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";

/** Fields of a message to be made. */
type Fields<Desc extends DescMessage> = Exclude<MessageInitShape<Desc>, MessageShape<Desc>>;

/** A message with its bytes, as a verb is given it. */
export interface Input<T> {
  readonly request: T;
  readonly requestBytes: Uint8Array;
}

/** A request for a pod "web", and what else the config has. */
export function podRequest(
  config: Fields<typeof PodSandboxConfigSchema> = {},
  runtimeHandler = "",
): Input<RunPodSandboxRequest> {
  const metadata = { name: "web", namespace: "default", uid: "uid-1", attempt: 0 };
  const request = create(RunPodSandboxRequestSchema, {
    config: create(PodSandboxConfigSchema, { metadata, ...config }),
    runtimeHandler,
  });
  return { request, requestBytes: toBinary(RunPodSandboxRequestSchema, request) };
}

/** A request for a container "app" of the image "app". */
export function containerRequest(
  podSandboxId: string,
  config: Fields<typeof ContainerConfigSchema> = {},
): Input<CreateContainerRequest> {
  const request = create(CreateContainerRequestSchema, {
    podSandboxId,
    config: create(ContainerConfigSchema, {
      metadata: { name: "app", attempt: 0 },
      image: { image: "app" },
      ...config,
    }),
  });
  return { request, requestBytes: toBinary(CreateContainerRequestSchema, request) };
}
