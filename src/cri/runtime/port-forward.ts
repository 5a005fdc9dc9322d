import { requestPortForward } from "../../engine/streaming/index.ts";
import type { PortForwardRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** PortForward: returns a URL that is valid once, for a short time. */
export async function portForward(
  context: CriContext,
  request: PortForwardRequest,
): Promise<{ readonly url: string }> {
  const { podSandboxId: sandboxId, port: ports } = request;
  return { url: await requestPortForward(context, { sandboxId, ports }) };
}
