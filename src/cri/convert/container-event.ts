import { create, toBinary } from "@bufbuild/protobuf";
import type { EventKind, PodEvent } from "../../engine/events/index.ts";
import { ContainerEventResponseSchema, ContainerEventType } from "../../gen/runtime/v1/api_pb.ts";
import { encodedContainerStatus } from "./container-status.ts";
import { keptFields, renumberedField } from "./fields.ts";
import { encodedSandboxStatus } from "./sandbox-status.ts";

const types: Readonly<Record<EventKind, ContainerEventType>> = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
};

/**
 * An encoded ContainerEventResponse. The statuses are left out, as where the record of the sandbox is
 * lost, if the message would have more than `maxBytes`: kubelet then ignores the event, and other clients
 * can ask for the status.
 */
export function encodedContainerEvent(event: PodEvent, maxBytes: number): Uint8Array {
  const head = toBinary(
    ContainerEventResponseSchema,
    create(ContainerEventResponseSchema, {
      containerId: event.id,
      containerEventType: types[event.kind],
      createdAt: event.atNs,
    }),
  );
  const { pod } = event;
  if (pod === undefined) return head;
  // Fields of ContainerEventResponse: 4 pod_sandbox_status, 5 containers_statuses.
  const fields = [head, renumberedField(4, encodedSandboxStatus(pod))];
  for (const container of pod.containers) {
    fields.push(renumberedField(5, encodedContainerStatus(container)));
  }
  const bytes = fields.reduce((sum, { length }) => sum + length, 0);
  return bytes > maxBytes ? head : keptFields(fields);
}
