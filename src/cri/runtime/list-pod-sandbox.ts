import type { ListPodSandboxRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields } from "../convert/fields.ts";
import { encodedListItem, passesFilter } from "../convert/sandbox.ts";

/** The sandboxes that pass the filter, from memory. An id that nobody has is no error. */
export function listPodSandbox(context: CriContext, request: ListPodSandboxRequest): Uint8Array {
  const items: Uint8Array[] = [];
  for (const sandbox of context.sandboxes.store.listed()) {
    if (passesFilter(sandbox, request.filter)) items.push(encodedListItem(sandbox));
  }
  return joinFields(items);
}
