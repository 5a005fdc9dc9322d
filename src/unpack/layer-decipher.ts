import { createDecipheriv, createHmac } from "node:crypto";

import { RuntimeError } from "../base/errors.ts";
import { MAGIC_BYTES } from "./decompress.ts";

/** What the daemon sends of the cipher of an encrypted blob, in base64. */
export interface CipherOfJob {
  readonly key: string;
  readonly nonce: string;
}

/** Checks what the daemon sent; undefined for a blob that is not encrypted. */
export function parseCipher(value: unknown): CipherOfJob | undefined {
  if (value === undefined) return undefined;
  const { key, nonce } = value as Readonly<Record<string, unknown>>;
  if (typeof key === "string" && typeof nonce === "string") return { key, nonce };
  throw new RuntimeError("internal", "unpack layer: the job has a cipher without a key");
}

/**
 * Decrypts a blob that ocicrypt has encrypted: AES-256 in counter mode, with an HMAC-SHA256 of the encrypted bytes by
 * the same key. What was decrypted is not authentic before the caller has compared {@link mac}.
 */
export class LayerDecipher {
  readonly #key: Buffer;
  readonly #nonce: Buffer;
  readonly #cipher: ReturnType<typeof createDecipheriv>;
  readonly #hmac: ReturnType<typeof createHmac>;
  #mac: string | undefined;

  constructor({ key, nonce }: CipherOfJob) {
    this.#key = Buffer.from(key, "base64");
    this.#nonce = Buffer.from(nonce, "base64");
    this.#cipher = this.#open();
    this.#hmac = createHmac("sha256", this.#key);
  }

  /** The first bytes of the blob decrypted, which show its compression. The next decrypt() begins with them, too. */
  peek(head: Buffer): Buffer {
    return this.#open().update(head.subarray(0, MAGIC_BYTES));
  }

  /** Decrypts the next part of the blob into a new buffer. */
  decrypt(bytes: Buffer): Buffer {
    this.#hmac.update(bytes);
    return this.#cipher.update(bytes);
  }

  /** The HMAC of what was decrypted, hexadecimal. Nothing can be decrypted afterwards. */
  mac(): string {
    this.#mac ??= this.#hmac.digest("hex");
    return this.#mac;
  }

  #open(): ReturnType<typeof createDecipheriv> {
    return createDecipheriv("aes-256-ctr", this.#key, this.#nonce);
  }
}
