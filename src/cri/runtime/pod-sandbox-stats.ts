import { RuntimeError } from "../../base/errors.ts";
import type { PodSandboxStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { messageField } from "../convert/fields.ts";
import { podStatsMessages } from "./list-pod-sandbox-stats.ts";

/** What a ready sandbox uses, with its containers. `unavailable` when it is not ready, as containerd says. */
export async function podSandboxStats(
  context: CriContext,
  request: PodSandboxStatsRequest,
): Promise<Uint8Array> {
  const sandbox = context.sandboxes.store.resolve(request.podSandboxId);
  const { name } = sandbox.state;
  if (name !== "ready") {
    throw new RuntimeError(
      "unavailable",
      `read stats of sandbox "${sandbox.id}": it is ${name}, only a ready one has stats`,
    );
  }
  const [message] = await podStatsMessages(context, [sandbox]);
  if (message === undefined) {
    throw new RuntimeError(
      "unavailable",
      `read stats of sandbox "${sandbox.id}": its cgroup does not answer, try again`,
    );
  }
  return messageField(1, message);
}
