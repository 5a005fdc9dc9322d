import * as containers from "../../engine/container/index.ts";
import type { StreamContainersRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { containerFilter, encodedContainerItem } from "../convert/container.ts";
import { joinFields } from "../convert/fields.ts";

// A container has one to two KiB, so a message with this many is far below every message limit.
const batch = 1000;

/** The containers that match the filter at the time of the call, each once (KEP-5825). */
export function* streamContainers(
  context: CriContext,
  request: StreamContainersRequest,
): Iterable<Uint8Array> {
  const filter = containerFilter(request.filter);
  const listed = containers.listContainers(context.containers, filter);
  for (let from = 0; from < listed.length; from += batch) {
    yield joinFields(listed.slice(from, from + batch).map(encodedContainerItem));
  }
}
