import type { LayerEncryption } from "../../core/image/index.ts";
import { asRecord, HostFailure } from "./failure.ts";

// Annotations of an encrypted layer (github.com/containers/ocicrypt).
const keysPrefix = "org.opencontainers.image.enc.keys.";
const publicOptions = "org.opencontainers.image.enc.pubopts";
/** `provider.NAME` is the longest that ocicrypt has. */
const maxProtocolLength = 100;
const maxProtocols = 16;

/**
 * How a layer is encrypted, by the annotations of its descriptor. Their sizes are bounded by that of the manifest. A
 * {@link HostFailure} of kind `data-loss` for more key protocols than there are.
 */
export function encryptionOf(annotations: unknown): LayerEncryption {
  const texts = asRecord(annotations) ?? {};
  const wrappedKeys = new Map<string, string>();
  for (const [name, text] of Object.entries(texts)) {
    if (!name.startsWith(keysPrefix) || typeof text !== "string" || text === "") continue;
    const protocol = name.slice(keysPrefix.length);
    if (protocol.length > maxProtocolLength || wrappedKeys.size === maxProtocols) {
      throw new HostFailure("data-loss", "has a layer with keys for too many key protocols");
    }
    wrappedKeys.set(protocol, text);
  }
  const options = texts[publicOptions];
  return { wrappedKeys, publicOptions: typeof options === "string" ? options : "" };
}
