import type { StreamContainersRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { encodedContainerItem, passesContainerFilter } from "../convert/container.ts";
import { joinFields } from "../convert/fields.ts";

// A container is one to two KiB: a message of this many stays far below every message limit.
const batch = 1000;

/** The containers that pass the filter, each once, as of the moment of the call (KEP-5825). */
export function* streamContainers(
  context: CriContext,
  request: StreamContainersRequest,
): Iterable<Uint8Array> {
  const containers = [...context.containers.store.listed()].filter((container) =>
    passesContainerFilter(container, request.filter),
  );
  for (let from = 0; from < containers.length; from += batch) {
    yield joinFields(containers.slice(from, from + batch).map(encodedContainerItem));
  }
}
