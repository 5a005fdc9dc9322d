import { create, toBinary } from "@bufbuild/protobuf";
import type { Container, ContainerStateName } from "../../core/container/index.ts";
import {
  type ContainerFilter,
  ContainerSchema,
  ContainerState,
} from "../../gen/runtime/v1/api_pb.ts";
import { messageField } from "./fields.ts";

const states: Readonly<Record<ContainerStateName, ContainerState>> = {
  creating: ContainerState.CONTAINER_CREATED,
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
};

/** The CRI's word for the container's state. */
export function criContainerState(container: Container): ContainerState {
  return states[container.state.name];
}

const encoded = new WeakMap<Container, Uint8Array>();

/**
 * The container as an element of field 1 of a list (ListContainersResponse.containers,
 * StreamContainersResponse.containers). Encoded once for each value of the container.
 */
export function encodedContainerItem(container: Container): Uint8Array {
  const known = encoded.get(container);
  if (known !== undefined) return known;
  const { metadata, labels, annotations, image } = container.config;
  const item = create(ContainerSchema, {
    id: container.id,
    podSandboxId: container.sandboxId,
    ...(metadata === undefined ? {} : { metadata }),
    ...(image === undefined ? {} : { image }),
    imageRef: container.image.id,
    imageId: container.image.id,
    state: criContainerState(container),
    createdAt: container.createdAtNs,
    labels,
    annotations,
  });
  const bytes = messageField(1, toBinary(ContainerSchema, item));
  encoded.set(container, bytes);
  return bytes;
}

/** Whether a container passes the filter of a list. Ids may be shortened; several may then match. */
export function passesContainerFilter(
  container: Container,
  filter: ContainerFilter | undefined,
): boolean {
  if (filter === undefined) return true;
  if (!container.id.startsWith(filter.id)) return false;
  if (!container.sandboxId.startsWith(filter.podSandboxId)) return false;
  if (filter.state !== undefined && filter.state.state !== criContainerState(container))
    return false;
  return matchesLabels(container.config.labels, filter.labelSelector);
}

/** True when every label of the selector is there with its value. */
export function matchesLabels(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
