import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  CreateContainerRequestSchema,
  type RestorePodRequest,
  type RestorePodResponseSchema,
  RunPodSandboxRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** RestorePod: makes a pod from a pod's checkpoint. Its containers continue when they are started. */
export async function restorePod(
  context: CriContext,
  request: RestorePodRequest,
  call: RpcCall,
): Promise<MessageInitShape<typeof RestorePodResponseSchema>> {
  const { restorePod: restore } = await import("../../engine/checkpoint/index.ts");
  const { checkpointPath, config, runtimeHandler, options, containerConfigs } = request;
  const { requestBytes } = call;
  // Records have the requests by which a client would make the same pod.
  const run = create(RunPodSandboxRequestSchema, { ...(config && { config }), runtimeHandler });
  const restored = await restore(
    context,
    {
      checkpointPath,
      options,
      sandbox: { request: run, requestBytes: toBinary(RunPodSandboxRequestSchema, run) },
      containerConfigs,
      container: (containerConfig, podSandboxId) => {
        const made = create(CreateContainerRequestSchema, {
          podSandboxId,
          config: containerConfig,
          ...(config && { sandboxConfig: config }),
        });
        return { request: made, requestBytes: toBinary(CreateContainerRequestSchema, made) };
      },
      requestBytes,
    },
    call.signal,
  );
  return {
    podSandboxId: restored.sandboxId,
    restoredContainers: restored.containers.map(({ name, id }) => ({ name, containerId: id })),
  };
}
