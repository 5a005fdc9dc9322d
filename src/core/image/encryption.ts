import type { Descriptor } from "./source.ts";

/** What decrypts one layer: AES-256 in counter mode. Never logged and never stored. */
export interface LayerCipher {
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** The first block of the counter, 16 bytes. */
  readonly nonce: Uint8Array;
  /** HMAC-SHA256 of the encrypted bytes, by the same key. */
  readonly mac: Uint8Array;
  /** Identifies the values above without revealing them, and may be stored. */
  readonly id: string;
}

/** Gets the keys of layers with the private keys of this node. */
export interface LayerDecryption {
  /**
   * The ciphers of the layers of one image, undefined for a layer that is not encrypted. Reads the private keys now, so
   * that keys can be added and removed while the daemon runs. `failed-precondition`, with the layer, its key protocols
   * and recipients, for one that no key of this node is for; `data-loss` for annotations that cannot be read;
   * `unimplemented` for another cipher or key protocol.
   */
  ciphersOf(
    layers: readonly Descriptor[],
    signal: AbortSignal,
  ): Promise<readonly (LayerCipher | undefined)[]>;
}
