import { create, toBinary } from "@bufbuild/protobuf";
import type { Sandbox } from "../../core/sandbox/index.ts";
import {
  type PodSandboxFilter,
  PodSandboxSchema,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import { messageField } from "./fields.ts";

/** The CRI's two states: whatever is not ready is NOTREADY. */
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

/** Whether a sandbox passes the filter of a list. An id may be shortened; several may then match. */
export function passesFilter(sandbox: Sandbox, filter: PodSandboxFilter | undefined): boolean {
  if (filter === undefined) return true;
  if (!sandbox.id.startsWith(filter.id)) return false;
  if (filter.state !== undefined && filter.state.state !== criState(sandbox.state.name === "ready"))
    return false;
  return Object.entries(filter.labelSelector).every(
    ([key, value]) => sandbox.config.labels[key] === value,
  );
}
