import { type ImageReference, parseReference, type RegistryAuth } from "../../core/image/index.ts";

/**
 * The credentials of a request for a name that means `reference` on this node. A client such as kubelet
 * takes a name without a host for one of docker.io, and chooses the credentials for that: an alias of
 * the node must not send them to another registry.
 */
export function authForName(
  { name, auth }: { readonly name: string; readonly auth: RegistryAuth | undefined },
  reference: ImageReference,
): RegistryAuth | undefined {
  if (auth === undefined || auth.serverAddress !== "") return auth;
  const { registry } = parseReference(name);
  return registry === reference.registry ? auth : { ...auth, serverAddress: registry };
}
