import { quote } from "../../base/quote.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Descriptor, LayerCipher } from "../../core/image/index.ts";
import type { ImageContext } from "./context.ts";

/** The ciphers of the encrypted layers of an image, by the number of the layer. */
export type Ciphers = readonly (LayerCipher | undefined)[];

/**
 * Gets the keys of an image's encrypted layers, before any layer is fetched or used: a layer that is on this node
 * counts only for a pull that could decrypt it. Errors as `LayerDecryption.ciphersOf`, and `failed-precondition` on a node
 * without keys.
 */
export async function ciphersOf(
  { decryption }: Pick<ImageContext, "decryption">,
  layers: readonly Descriptor[],
  signal: AbortSignal,
): Promise<Ciphers> {
  const at = layers.findIndex(({ encryption }) => encryption !== undefined);
  const first = layers[at];
  if (first === undefined) return [];
  if (decryption !== undefined) return await decryption.ciphersOf(layers, signal);
  const protocols = [...(first.encryption?.wrappedKeys.keys() ?? [])].map((name) => quote(name));
  const which = protocols.length === 0 ? "" : ` (for ${protocols.join(", ")})`;
  throw new RuntimeError(
    "failed-precondition",
    `decrypt layer ${at + 1} of ${layers.length}, blob "${first.digest}": it is encrypted${which}, and this node has no keys: set images.decryption_keys_path to a directory with the private key of a recipient`,
  );
}
