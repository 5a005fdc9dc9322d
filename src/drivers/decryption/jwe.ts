import type { KeyObject } from "node:crypto";
import type { FlattenedJWE } from "jose";

import { quote } from "../../base/quote.ts";

// As ocicrypt accepts them (keywrap/jwe). Not RSA1_5, which leaks by its errors.
const keyAlgorithms: readonly string[] = [
  "RSA-OAEP",
  "RSA-OAEP-256",
  "ECDH-ES+A128KW",
  "ECDH-ES+A192KW",
  "ECDH-ES+A256KW",
];
const contentAlgorithms: readonly string[] = [
  "A128GCM",
  "A192GCM",
  "A256GCM",
  "A128CBC-HS256",
  "A192CBC-HS384",
  "A256CBC-HS512",
];
const maxRecipients = 100;
/**
 * The text of what was encrypted, and of its headers, of which ocicrypt writes a few hundred bytes: each try decodes and
 * decrypts them on the daemon's thread.
 */
const maxSharedChars = 64 * 1024;

/** One recipient of a JWE, with what only it can decrypt. */
export interface JweRecipient {
  readonly algorithm: string;
  /** `kid`; empty for none. */
  readonly id: string;
  readonly jwe: FlattenedJWE;
}

/**
 * The recipients of a JWE in its JSON serialization (RFC 7516, 7.2), which is what ocicrypt writes; or why it cannot
 * be read. Nothing is decrypted or verified.
 */
export function recipientsOf(packet: Uint8Array): readonly JweRecipient[] | string {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(packet));
  } catch {
    return "it is not JSON";
  }
  const whole = asRecord(value);
  if (whole === undefined) return "it is not an object";
  const { recipients, header, encrypted_key, ...shared } = whole;
  for (const [name, field] of Object.entries(shared)) {
    if (typeof field === "string" && field.length > maxSharedChars) {
      return `its ${quote(name)} has more than ${maxSharedChars} characters`;
    }
  }
  const single = [{ header, encrypted_key }];
  const list: unknown = recipients ?? single;
  if (!Array.isArray(list)) return "its recipients are not a list";
  if (list.length > maxRecipients) return `it has more than ${maxRecipients} recipients`;
  return list.map((each) => recipientOf(shared, asRecord(each) ?? {}));
}

function recipientOf(
  shared: Readonly<Record<string, unknown>>,
  own: Readonly<Record<string, unknown>>,
): JweRecipient {
  // Its fields are checked by the library.
  const jwe = withoutUndefined({ ...shared, ...own }) as unknown as FlattenedJWE;
  const headers = {
    ...protectedHeader(shared),
    ...asRecord(shared["unprotected"]),
    ...asRecord(own["header"]),
  };
  const { alg, kid } = headers as Readonly<Record<string, unknown>>;
  return {
    algorithm: typeof alg === "string" ? alg : "",
    id: typeof kid === "string" ? kid : "",
    jwe,
  };
}

function protectedHeader({ protected: text }: Readonly<Record<string, unknown>>): object {
  try {
    const bytes = Buffer.from(typeof text === "string" ? text : "", "base64url");
    return asRecord(JSON.parse(bytes.toString("utf8"))) ?? {};
  } catch {
    return {};
  }
}

function withoutUndefined(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined));
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Readonly<Record<string, unknown>>) : undefined;
}

/** Whether a key may be that of a recipient: by the kind of its algorithm, and by the ids if both have one. */
export function mayBeFor(
  { algorithm, id }: JweRecipient,
  { key, id: ownId }: { readonly key: KeyObject; readonly id: string },
): boolean {
  if (!keyAlgorithms.includes(algorithm)) return false;
  if (algorithm.startsWith("RSA") !== (key.asymmetricKeyType === "rsa")) return false;
  return id === "" || ownId === "" || id === ownId;
}

/** What a recipient is called in messages. */
export function nameOf({ algorithm, id }: JweRecipient): string {
  return `${quote(algorithm)}${id === "" ? "" : ` with the key ID ${quote(id)}`}`;
}

/** The content of a JWE by the key of one of its recipients; undefined if the key is not that of the recipient. */
export async function decryptJwe(
  { jwe }: JweRecipient,
  key: KeyObject,
): Promise<Uint8Array | undefined> {
  const { flattenedDecrypt } = await import("jose/jwe/flattened/decrypt");
  try {
    const { plaintext } = await flattenedDecrypt(jwe, key, {
      keyManagementAlgorithms: [...keyAlgorithms],
      contentEncryptionAlgorithms: [...contentAlgorithms],
      // ocicrypt compresses nothing.
      maxDecompressedLength: 0,
    });
    return plaintext;
  } catch {
    // What is wrong with it makes no difference to who wrote it, and a wrong key looks the same.
    return undefined;
  }
}
