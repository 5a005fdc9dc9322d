import { createHash } from "node:crypto";

import { quoteValue } from "../../base/quote.ts";
import type { LayerCipher } from "../../core/image/index.ts";

/** The only cipher that ocicrypt has: AES-256 in counter mode, then HMAC-SHA256. */
const cipherName = "AES_256_CTR_HMAC_SHA256";

/** A cipher, or why the options of a layer have none. */
export type ParsedOptions =
  | { readonly cipher: LayerCipher }
  | { readonly reason: string; readonly kind: "data-loss" | "unimplemented" };

/**
 * Reads the options of an encrypted layer (blockcipher of ocicrypt): the public ones from the text of their annotation,
 * the private ones from what was encrypted for the recipients.
 */
export function cipherOf(publicText: string, privateJson: Uint8Array): ParsedOptions {
  const open = fieldsOf(Buffer.from(publicText, "base64"));
  const secret = fieldsOf(privateJson);
  if (open === undefined) return broken("the annotation with its public options is not JSON");
  if (secret === undefined) return broken("what was encrypted for its recipients is not JSON");
  if (open["cipher"] !== cipherName) {
    const reason = `it has the cipher ${quoteValue(open["cipher"])}, and ${cipherName} is supported`;
    return { reason, kind: "unimplemented" };
  }
  const key = bytesOf(secret["symkey"], 32);
  const mac = bytesOf(open["hmac"], 32);
  // In this order, as ocicrypt.
  const nonce = nonceOf(open) ?? nonceOf(secret);
  if (key === undefined) return broken("its key does not have 32 bytes");
  if (mac === undefined) return broken("its HMAC does not have 32 bytes");
  if (nonce === undefined) return broken("its nonce does not have 16 bytes");
  return { cipher: { key, nonce, mac, id: idOf([key, nonce, mac]) } };
}

/** Nobody can compute it who does not know the key. */
function idOf(parts: readonly Uint8Array[]): string {
  const hash = createHash("sha256").update("davit: the cipher of a layer\n");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

function nonceOf(options: Readonly<Record<string, unknown>>): Uint8Array | undefined {
  const more = options["cipheroptions"];
  if (typeof more !== "object" || more === null || !("nonce" in more)) return undefined;
  return bytesOf(more.nonce, 16);
}

function bytesOf(value: unknown, length: number): Uint8Array | undefined {
  if (typeof value !== "string" || value.length > 4 * length) return undefined;
  const bytes = Buffer.from(value, "base64");
  return bytes.length === length ? bytes : undefined;
}

function fieldsOf(json: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(json).toString("utf8"));
    if (typeof value !== "object" || value === null) return undefined;
    return value as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}

function broken(reason: string): ParsedOptions {
  return { reason, kind: "data-loss" };
}
