import { RuntimeError } from "../../base/errors.ts";
import type { RegistryAuth } from "../../core/image/index.ts";
import * as images from "../../engine/image/index.ts";
import {
  type Credentials,
  Decision,
  type ExplainRequest,
  type ExplainResponseSchema,
} from "../../gen/davit/v1/pull_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CriContext, RpcCall } from "../context.ts";

/** Explain: what a pull would do. */
export async function explain(
  context: CriContext,
  request: ExplainRequest,
  call: RpcCall,
): Promise<MessageInitShape<typeof ExplainResponseSchema>> {
  if (request.image === "") {
    throw new RuntimeError("invalid-argument", "explain pull: the image is missing");
  }
  const asked = { name: request.image, auth: authOf(request.credentials) };
  const explained = await images.explainPull(context.images, asked, call.signal);
  const { name, hosts, image, presentId, layers, error } = explained;
  return {
    name,
    hosts: hosts.map(({ isMirror, isInsecure, isAvoided, capabilities, ...host }) => ({
      ...host,
      capabilities: [...capabilities],
      mirror: isMirror,
      insecure: isInsecure,
      avoided: isAvoided,
    })),
    digest: image?.digest ?? "",
    ...(image?.platform === undefined
      ? {}
      : { platform: { ...image.platform, offered: [...image.platform.offered] } }),
    manifestDigest: image?.manifest.digest ?? "",
    configDigest: image?.config.digest ?? "",
    present: presentId !== undefined,
    layers: layers.map(({ blob, diffId, decision, cipher }) => ({
      digest: blob.digest,
      diffId,
      sizeBytes: blob.sizeBytes,
      decision: decisions[decision],
      encrypted: cipher !== undefined,
    })),
    fetchBytes: explained.fetchBytes,
    estimatedDiskBytes: explained.estimatedDiskBytes,
    ...(error === undefined ? {} : { error }),
  };
}

const decisions: Readonly<Record<images.ExplainedLayer["decision"], Decision>> = {
  missing: Decision.MISSING,
  trusted: Decision.TRUSTED,
  granted: Decision.GRANTED,
  "other-registry": Decision.OTHER_REGISTRY,
  "not-granted": Decision.NOT_GRANTED,
};

/** The credentials of a request of davit's own services. */
export function authOf(credentials: Credentials | undefined): RegistryAuth | undefined {
  if (credentials === undefined) return undefined;
  const { username, password } = credentials;
  const rest = { auth: "", serverAddress: "", identityToken: "", registryToken: "" };
  return { username, password, ...rest };
}
