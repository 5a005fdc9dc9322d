import { create, toBinary } from "@bufbuild/protobuf";
import type { ContainerFilter } from "../../engine/container/index.ts";
import type { Container, ContainerStateName } from "../../core/container/index.ts";
import {
  type ContainerFilter as CriContainerFilter,
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

/** The CRI's state of a container. */
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
    // Images are listed without a handler, and kubelet compares both (KEP-4216): it would remove an image in use.
    ...(image === undefined ? {} : { image: { ...image, runtimeHandler: "" } }),
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

/** The filter of a list, for the engine. */
export function containerFilter(filter: CriContainerFilter | undefined): ContainerFilter {
  if (filter === undefined) return {};
  const { id, podSandboxId, state, labelSelector } = filter;
  return {
    id,
    sandboxId: podSandboxId,
    ...(state === undefined ? {} : { states: stateNames(state.state) }),
    labels: labelSelector,
  };
}

function stateNames(wanted: ContainerState): readonly ContainerStateName[] {
  const names = Object.keys(states) as ContainerStateName[];
  return names.filter((name) => states[name] === wanted);
}
