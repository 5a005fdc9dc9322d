import { create, toBinary } from "@bufbuild/protobuf";
import type { SandboxFilter } from "../../engine/sandbox/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import {
  type PodSandboxFilter,
  PodSandboxSchema,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import { messageField } from "./fields.ts";

/** The CRI's state of a sandbox: NOTREADY covers every state but ready. */
export function criState(ready: boolean): PodSandboxState {
  return ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

const encoded = new WeakMap<Sandbox, Uint8Array>();

/**
 * The sandbox as an element of field 1 of a list (ListPodSandboxResponse.items,
 * StreamPodSandboxesResponse.pod_sandboxes). Encoded once for each value of the sandbox.
 */
export function encodedListItem(sandbox: Sandbox): Uint8Array {
  const known = encoded.get(sandbox);
  if (known !== undefined) return known;
  const { metadata, labels, annotations } = sandbox.config;
  const item = create(PodSandboxSchema, {
    id: sandbox.id,
    ...(metadata === undefined ? {} : { metadata }),
    state: criState(sandbox.state.name === "ready"),
    createdAt: sandbox.createdAtNs ?? 0n,
    labels,
    annotations,
    runtimeHandler: sandbox.handler.requested,
  });
  const bytes = messageField(1, toBinary(PodSandboxSchema, item));
  encoded.set(sandbox, bytes);
  return bytes;
}

/** The filter of a list, for the engine. */
export function sandboxFilter(filter: PodSandboxFilter | undefined): SandboxFilter {
  if (filter === undefined) return {};
  const { id, state, labelSelector } = filter;
  return {
    id,
    ...(state === undefined ? {} : { ready: state.state === PodSandboxState.SANDBOX_READY }),
    labels: labelSelector,
  };
}
