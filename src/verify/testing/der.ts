// The structures of DER (X.690) that certificates are made of, for tests.
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** A key pair of ECDSA P-256. */
export function ecKeys(): KeyPair {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

/** PEM of a public key. */
export function pemOf({ publicKey }: Pick<KeyPair, "publicKey">): string {
  return publicKey.export({ type: "spki", format: "pem" }).toString();
}

/** DER of a public key. */
export function derOf({ publicKey }: Pick<KeyPair, "publicKey">): Buffer {
  return publicKey.export({ type: "spki", format: "der" });
}

export interface CertificateOptions {
  readonly subject: string;
  readonly keys: Pick<KeyPair, "publicKey">;
  /** The certificate itself where absent. */
  readonly issuer?: { readonly subject: string; readonly keys: KeyPair } | undefined;
  readonly isCa?: boolean;
  readonly uri?: string;
  readonly email?: string;
  /** The OIDC issuer, in the extension of Fulcio. */
  readonly oidcIssuer?: string;
  readonly from: Date;
  readonly to: Date;
  /** Object identifier; code signing where absent, and none for an authority. */
  readonly purpose?: string | undefined;
  /** Extensions to add, as {@link extension} makes them. */
  readonly extensions?: readonly Buffer[] | undefined;
  /** Makes the extension with proofs, from the certificate without it. */
  readonly proofs?: (tbs: Buffer) => Buffer;
}

/** A certificate, DER. */
export function certificate(options: CertificateOptions): Buffer {
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"));
  const { keys } = options.issuer ?? { keys: options.keys as KeyPair };
  const own = extensions(options, keys);
  const serial = serialNumber();
  const body = (more: readonly Buffer[]): Buffer =>
    sequence(
      tagged(0xa0, tagged(0x02, Buffer.from([2]))),
      serial,
      algorithm,
      name(options.issuer?.subject ?? options.subject),
      sequence(time(options.from), time(options.to)),
      name(options.subject),
      derOf(options.keys),
      tagged(0xa3, sequence(...own, ...more)),
    );
  const proofs = options.proofs?.(body([]));
  const tbs = body(
    proofs === undefined ? [] : [extension("1.3.6.1.4.1.11129.2.4.2", tagged(0x04, proofs))],
  );
  const signature = sign("sha256", tbs, keys.privateKey);
  return sequence(tbs, algorithm, tagged(0x03, Buffer.from([0]), signature));
}

/** PEM of certificates. */
export function certificatePem(...ders: readonly Buffer[]): string {
  return ders
    .map((der) => {
      const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
      return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
    })
    .join("");
}

function extensions(options: CertificateOptions, issuerKeys: KeyPair): readonly Buffer[] {
  const keyId = (keys: Pick<KeyPair, "publicKey">): Buffer =>
    createHash("sha1").update(derOf(keys)).digest();
  const isCa = options.isCa === true;
  const names = [
    ...(options.uri === undefined ? [] : [text(0x86, options.uri)]),
    ...(options.email === undefined ? [] : [text(0x81, options.email)]),
  ];
  return [
    extension("2.5.29.14", tagged(0x04, keyId(options.keys))),
    extension("2.5.29.35", sequence(tagged(0x80, keyId(issuerKeys)))),
    extension("2.5.29.19", sequence(...(isCa ? [tagged(0x01, Buffer.from([0xff]))] : []))),
    extension("2.5.29.15", tagged(0x03, Buffer.from(isCa ? [1, 0x06] : [7, 0x80]))),
    ...(isCa && options.purpose === undefined
      ? []
      : [extension("2.5.29.37", sequence(oid(options.purpose ?? "1.3.6.1.5.5.7.3.3")))]),
    ...(names.length === 0 ? [] : [extension("2.5.29.17", sequence(...names))]),
    ...(options.oidcIssuer === undefined
      ? []
      : [extension("1.3.6.1.4.1.57264.1.8", text(0x0c, options.oidcIssuer))]),
    ...(options.extensions ?? []),
  ];
}

/** An extension of a certificate. */
export function extension(id: string, value: Buffer, critical = false): Buffer {
  const flag = critical ? [tagged(0x01, Buffer.from([0xff]))] : [];
  return sequence(oid(id), ...flag, tagged(0x04, value));
}

/** The value of an extension that permits names of hosts in one domain only (RFC 5280, 4.2.1.10). */
export function permittedDomain(domain: string): Buffer {
  return sequence(tagged(0xa0, sequence(text(0x82, domain))));
}

function name(common: string): Buffer {
  return sequence(tagged(0x31, sequence(oid("2.5.4.3"), text(0x0c, common))));
}

function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0);
  return tagged(0x02, bytes);
}

function time(at: Date): Buffer {
  return text(0x18, at.toISOString().replace(/[-:T]|\.\d+/g, ""));
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes: number[] = [first * 40 + second];
  for (const arc of rest) {
    const base128 = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) base128.unshift((left & 0x7f) | 0x80);
    bytes.push(...base128);
  }
  return tagged(0x06, Buffer.from(bytes));
}

function text(tag: number, value: string): Buffer {
  return tagged(tag, Buffer.from(value, "utf8"));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, ...parts);
}

function tagged(tag: number, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), ...parts]);
}
