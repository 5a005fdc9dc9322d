import { messageOf, RuntimeError } from "../../base/errors.ts";
import {
  type RegistryAuth,
  registryUnavailable,
  signatureValidationFailed,
} from "../../core/image/index.ts";
import * as images from "../../engine/image/index.ts";
import type { PodName } from "../../core/operation/index.ts";
import type {
  AuthConfig,
  PodSandboxMetadata,
  PullImageRequest,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** PullImage: pulls an image and returns its id, which all other calls accept. */
export async function pullImage(
  context: CriContext,
  request: PullImageRequest,
  call: RpcCall,
): Promise<{ imageRef: string }> {
  const name = request.image?.image ?? "";
  if (name === "") throw new RuntimeError("invalid-argument", "pull image: the image is missing");
  // An image serves all handlers; a pull for one that no pod can have is a mistake in the RuntimeClass.
  context.sandboxes.handlers.bind(request.image?.runtimeHandler ?? "");
  const auth = authOf(request.auth);
  const namespace = request.sandboxConfig?.metadata?.namespace ?? "";
  try {
    const pod = podOf(request.sandboxConfig?.metadata);
    const asked = { name, auth, namespace, pod };
    return { imageRef: await images.pullImage(context.images, asked, call.signal) };
  } catch (error) {
    throw asKubeletReads(error);
  }
}

/**
 * kubelet recognizes a registry that does not answer, and an image that no policy allows, by the beginning of the
 * message, and only if the code is Unknown: before the message of other codes it has their name (cri-api,
 * pkg/errors; kubelet, image_manager.go).
 */
function asKubeletReads(error: unknown): unknown {
  const message = messageOf(error);
  const words = [signatureValidationFailed, registryUnavailable];
  const word = words.find((each) => message.includes(each));
  if (word === undefined) return error;
  return new RuntimeError("unknown", `${word}${message.replace(word, "")}`, { cause: error });
}

/** Longer names are not those of a pod: Kubernetes allows 253 characters. */
const maxNameLength = 253;

/** The pod that kubelet pulls for. crictl names one only with an option. */
function podOf(metadata: PodSandboxMetadata | undefined): PodName | undefined {
  const { namespace = "", name = "", uid = "" } = metadata ?? {};
  const isPod = [namespace, name, uid].every(
    (text) => text !== "" && text.length <= maxNameLength && !/\p{Cc}/u.test(text),
  );
  return isPod ? { namespace, name, uid } : undefined;
}

function authOf(auth: AuthConfig | undefined): RegistryAuth | undefined {
  if (auth === undefined) return undefined;
  const { username, password, serverAddress, identityToken, registryToken } = auth;
  return { username, password, auth: auth.auth, serverAddress, identityToken, registryToken };
}
