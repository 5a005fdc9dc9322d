import { requestAttach } from "../../engine/streaming/index.ts";
import type { AttachRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** Attach: returns a URL that is valid once, for a short time. */
export async function attach(
  context: CriContext,
  request: AttachRequest,
): Promise<{ readonly url: string }> {
  const { containerId, stdin, stdout, stderr, tty: terminal } = request;
  return {
    url: await requestAttach(context, { containerId }, { stdin, stdout, stderr, terminal }),
  };
}
