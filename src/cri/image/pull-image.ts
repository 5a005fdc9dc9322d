import { RuntimeError } from "../../base/errors.ts";
import type { RegistryAuth } from "../../core/image/index.ts";
import * as images from "../../engine/image/index.ts";
import type { AuthConfig, PullImageRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** PullImage: pulls an image and returns its id, which all other calls accept. */
export async function pullImage(
  context: CriContext,
  request: PullImageRequest,
  call: RpcCall,
): Promise<{ imageRef: string }> {
  const name = request.image?.image ?? "";
  if (name === "") throw new RuntimeError("invalid-argument", "pull image: the image is missing");
  const imageRef = await images.pullImage(
    context.images,
    { name, auth: authOf(request.auth) },
    call.signal,
  );
  return { imageRef };
}

function authOf(auth: AuthConfig | undefined): RegistryAuth | undefined {
  if (auth === undefined) return undefined;
  const { username, password, serverAddress, identityToken, registryToken } = auth;
  return { username, password, auth: auth.auth, serverAddress, identityToken, registryToken };
}
