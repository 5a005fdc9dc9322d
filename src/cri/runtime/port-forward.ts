import { requestPortForward } from "../../engine/streaming/index.ts";
import type { PortForwardRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** PortForward: returns a URL that is valid once, for a short time. */
export function portForward(
  context: CriContext,
  request: PortForwardRequest,
): { readonly url: string } {
  const { podSandboxId: sandboxId, port: ports } = request;
  return { url: requestPortForward(context, { sandboxId, ports }) };
}
