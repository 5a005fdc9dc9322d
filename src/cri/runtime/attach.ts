import { requestAttach } from "../../engine/streaming/index.ts";
import type { AttachRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** Attach: returns a URL that is valid once, for a short time. */
export function attach(context: CriContext, request: AttachRequest): { readonly url: string } {
  const { containerId, stdin, stdout, stderr, tty: terminal } = request;
  return { url: requestAttach(context, { containerId }, { stdin, stdout, stderr, terminal }) };
}
