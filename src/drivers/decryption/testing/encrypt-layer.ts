// Encrypts layers as ocicrypt does, for tests. test/integration/image-encryption.test.ts compares with skopeo.
import { createCipheriv, createHash, createHmac, type KeyObject, randomBytes } from "node:crypto";
import { GeneralEncrypt } from "jose";

/** For whom a layer is encrypted. */
export interface TestRecipient {
  readonly key: KeyObject;
  /** RSA-OAEP for RSA and ECDH-ES+A256KW for other keys, if not given. */
  readonly algorithm?: string;
  readonly id?: string;
}

/** The secrets of a layer; random ones, if not given. */
export interface TestCipher {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
}

/** An encrypted layer, and the annotations of its descriptor. */
export interface EncryptedLayer {
  readonly bytes: Buffer;
  readonly annotations: Readonly<Record<string, string>>;
}

const prefix = "org.opencontainers.image.enc.";

/** Encrypts the blob of a layer. */
export async function encryptLayer(
  blob: Uint8Array,
  recipients: readonly TestRecipient[],
  { key, nonce }: TestCipher = { key: randomBytes(32), nonce: randomBytes(16) },
): Promise<EncryptedLayer> {
  const bytes = createCipheriv("aes-256-ctr", key, nonce).update(blob);
  const mac = createHmac("sha256", key).update(bytes).digest();
  const annotations = await annotationsOf(blob, recipients, { key, nonce, mac });
  return { bytes, annotations };
}

/** The annotations for a blob with these secrets, which need not be its own. */
export async function annotationsOf(
  blob: Uint8Array,
  recipients: readonly TestRecipient[],
  { key, nonce, mac }: TestCipher & { readonly mac: Uint8Array },
): Promise<Readonly<Record<string, string>>> {
  const secret = {
    symkey: base64(key),
    digest: `sha256:${createHash("sha256").update(blob).digest("hex")}`,
    cipheroptions: { nonce: base64(nonce) },
  };
  const open = { cipher: "AES_256_CTR_HMAC_SHA256", hmac: base64(mac), cipheroptions: {} };
  return {
    [`${prefix}keys.jwe`]: base64(await jweOf(JSON.stringify(secret), recipients)),
    [`${prefix}pubopts`]: base64(JSON.stringify(open)),
  };
}

/** A JWE for these recipients, in its JSON serialization: flattened for one, as go-jose writes it. */
export async function jweOf(text: string, recipients: readonly TestRecipient[]): Promise<string> {
  const encrypt = new GeneralEncrypt(Buffer.from(text));
  encrypt.setProtectedHeader({ enc: "A256GCM" });
  for (const { key, algorithm, id } of recipients) {
    const alg = algorithm ?? (key.asymmetricKeyType === "rsa" ? "RSA-OAEP" : "ECDH-ES+A256KW");
    encrypt.addRecipient(key).setUnprotectedHeader({ alg, ...(id && { kid: id }) });
  }
  const { recipients: list, ...shared } = await encrypt.encrypt();
  const [first] = list;
  return JSON.stringify(
    list.length === 1 ? { ...shared, ...first } : { ...shared, recipients: list },
  );
}

function base64(value: Uint8Array | string): string {
  return Buffer.from(value).toString("base64");
}
