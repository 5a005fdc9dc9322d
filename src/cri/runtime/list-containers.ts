import * as containers from "../../engine/container/index.ts";
import type { ListContainersRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { containerFilter, encodedContainerItem } from "../convert/container.ts";
import { joinFields } from "../convert/fields.ts";

/** ListContainers: each item is encoded once for each value of its container. */
export function listContainers(context: CriContext, request: ListContainersRequest): Uint8Array {
  const filter = containerFilter(request.filter);
  const listed = containers.listContainers(context.containers, filter);
  return joinFields(listed.map(encodedContainerItem));
}
