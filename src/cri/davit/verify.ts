import type { MessageInitShape } from "@bufbuild/protobuf";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import * as images from "../../engine/image/index.ts";
import type { VerifyRequest, VerifyResponseSchema } from "../../gen/davit/v1/pull_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";
import { authOf } from "./explain.ts";

/** Verify: what the policies of this node say of an image. */
export async function verify(
  context: CriContext,
  request: VerifyRequest,
  call: RpcCall,
): Promise<MessageInitShape<typeof VerifyResponseSchema>> {
  const { image: name, namespace, credentials } = request;
  if (name === "") throw new RuntimeError("invalid-argument", "verify image: the image is missing");
  const asked = { name, namespace, auth: authOf(credentials) };
  const verified = await images.verifyImage(context.images, asked, call.signal);
  const { isConfigured, presentId, reports, refusal } = verified;
  return {
    configured: isConfigured,
    accepted: refusal === undefined,
    imageId: presentId ?? "",
    verifications: reports.map(({ name: of, target, manifest, opinions }) => ({
      name: of,
      digest: target ?? "",
      manifestDigest: manifest ?? "",
      verifiers: opinions.map(({ verifier, verdict, error }) => ({
        verifier,
        decision: verdict?.decision ?? "unknown",
        policy: verdict?.policy ?? "",
        reason: verdict?.reason ?? messageOf(error),
        signatures: [...(verdict?.signatures ?? [])],
      })),
    })),
    ...(refusal === undefined ? {} : { error: { kind: refusal.kind, message: refusal.message } }),
  };
}
