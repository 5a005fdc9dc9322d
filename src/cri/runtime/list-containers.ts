import type { ListContainersRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { encodedContainerItem, passesContainerFilter } from "../convert/container.ts";
import { joinFields } from "../convert/fields.ts";

/** The containers that pass the filter, from memory. An id that nobody has is no error. */
export function listContainers(context: CriContext, request: ListContainersRequest): Uint8Array {
  const items: Uint8Array[] = [];
  for (const container of context.containers.store.listed()) {
    if (passesContainerFilter(container, request.filter))
      items.push(encodedContainerItem(container));
  }
  return joinFields(items);
}
