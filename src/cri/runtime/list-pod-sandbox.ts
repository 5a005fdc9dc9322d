import * as sandboxes from "../../engine/sandbox/index.ts";
import type { ListPodSandboxRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields } from "../convert/fields.ts";
import { encodedListItem, sandboxFilter } from "../convert/sandbox.ts";

/** ListPodSandbox: each item is encoded once for each value of its sandbox. */
export function listPodSandbox(context: CriContext, request: ListPodSandboxRequest): Uint8Array {
  const filter = sandboxFilter(request.filter);
  const listed = sandboxes.listPodSandboxes(context.sandboxes, filter);
  return joinFields(listed.map(encodedListItem));
}
