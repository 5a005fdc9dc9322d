import * as sandboxes from "../../engine/sandbox/index.ts";
import type { StreamPodSandboxesRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields } from "../convert/fields.ts";
import { encodedListItem, sandboxFilter } from "../convert/sandbox.ts";

// A sandbox has one to two KiB, so a message with this many is far below every message limit.
const batch = 1000;

/** The sandboxes that match the filter at the time of the call, each once (KEP-5825). */
export function* streamPodSandboxes(
  context: CriContext,
  request: StreamPodSandboxesRequest,
): Iterable<Uint8Array> {
  const filter = sandboxFilter(request.filter);
  const listed = sandboxes.listPodSandboxes(context.sandboxes, filter);
  for (let from = 0; from < listed.length; from += batch) {
    yield joinFields(listed.slice(from, from + batch).map(encodedListItem));
  }
}
