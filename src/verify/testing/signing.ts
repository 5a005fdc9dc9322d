// Signs images as cosign and sigstore do, with a Fulcio, a Rekor and a CT log of its own, for tests.
import { createHash, type KeyObject, sign } from "node:crypto";
import { json } from "@sigstore/core";
import type { SignatureToCheck, Trust } from "../protocol.ts";
import {
  certificate,
  certificatePem,
  derOf,
  ecKeys,
  extension,
  type KeyPair,
  pemOf,
} from "./der.ts";

type Simple = Extract<SignatureToCheck, { readonly kind: "simple-signing" }>;

const sha256 = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest();

/** A signature over bytes, as cosign makes it with a key of this type. */
export function signBytes(bytes: Buffer, key: KeyObject): Buffer {
  return sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", bytes, key);
}

/** The document that cosign signs. */
export function simplePayload(digest: string, reference: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": reference },
        image: { "docker-manifest-digest": digest },
        type: "cosign container image signature",
      },
      optional: null,
    }),
  );
}

export interface LogOptions {
  readonly at?: Date;
  readonly index?: number;
}

/** A transparency log: signs entries (SET), and checkpoints of a tree of two leaves. */
export class TestRekor {
  readonly keys = ecKeys();
  readonly pem = pemOf(this.keys);
  readonly #id = sha256(derOf(this.keys));

  #body(payload: Buffer, signature: Buffer, signer: string): string {
    return JSON.stringify({
      apiVersion: "0.0.1",
      kind: "hashedrekord",
      spec: {
        data: { hash: { algorithm: "sha256", value: sha256(payload).toString("hex") } },
        signature: {
          content: signature.toString("base64"),
          publicKey: { content: Buffer.from(signer).toString("base64") },
        },
      },
    });
  }

  #promise(body: Buffer, at: Date, index: number): Buffer {
    const entry = {
      body: body.toString("base64"),
      integratedTime: Math.floor(at.getTime() / 1000),
      logIndex: index,
      logID: this.#id.toString("hex"),
    };
    return sign("sha256", Buffer.from(json.canonicalize(entry)), this.keys.privateKey);
  }

  /** cosign's annotation with an entry. */
  annotation(
    payload: Buffer,
    signature: Buffer,
    { at = new Date(), index = 7 }: LogOptions = {},
  ): string {
    const body = Buffer.from(this.#body(payload, signature, "signer"));
    return JSON.stringify({
      SignedEntryTimestamp: this.#promise(body, at, index).toString("base64"),
      Payload: {
        body: body.toString("base64"),
        integratedTime: Math.floor(at.getTime() / 1000),
        logIndex: index,
        logID: this.#id.toString("hex"),
      },
    });
  }

  /** The entry of a bundle, with an inclusion proof in a tree of two entries. */
  bundleEntry(
    signed: Buffer,
    signature: Buffer,
    {
      at = new Date(),
      index = 7,
      promise = true,
    }: LogOptions & { readonly promise?: boolean } = {},
  ): object {
    const body = Buffer.from(this.#body(signed, signature, "signer"));
    const leaf = sha256(Buffer.concat([Buffer.from([0]), body]));
    const other = sha256(Buffer.from("\0another entry"));
    const root = sha256(Buffer.concat([Buffer.from([1]), other, leaf]));
    const note = `rekor.test - 1\n2\n${root.toString("base64")}\n`;
    const noteSignature = Buffer.concat([
      this.#id.subarray(0, 4),
      sign("sha256", Buffer.from(note), this.keys.privateKey),
    ]);
    return {
      logIndex: String(index),
      logId: { keyId: this.#id.toString("base64") },
      kindVersion: { kind: "hashedrekord", version: "0.0.1" },
      integratedTime: String(Math.floor(at.getTime() / 1000)),
      ...(promise && {
        inclusionPromise: {
          signedEntryTimestamp: this.#promise(body, at, index).toString("base64"),
        },
      }),
      inclusionProof: {
        logIndex: "1",
        rootHash: root.toString("base64"),
        treeSize: "2",
        hashes: [other.toString("base64")],
        checkpoint: {
          envelope: `${note}\n\u2014 rekor.test ${noteSignature.toString("base64")}\n`,
        },
      },
      canonicalizedBody: body.toString("base64"),
    };
  }
}

export interface LeafOptions {
  readonly subject?: string;
  readonly email?: string;
  readonly issuer?: string;
  readonly from?: Date;
  readonly to?: Date;
  readonly purpose?: string;
  readonly withProof?: boolean;
  /** Extensions to add. */
  readonly extensions?: readonly Buffer[];
  /** The value of the extension with the subject alternative names, instead of `subject` and `email`. */
  readonly names?: Buffer;
}

/** What limits an authority. */
export interface AuthorityLimits {
  readonly purpose?: string;
  readonly extensions?: readonly Buffer[];
}

/** Limits of the authorities of a {@link TestFulcio}; none where absent. */
export interface FulcioOptions {
  readonly root?: AuthorityLimits;
  readonly intermediate?: AuthorityLimits;
}

/** A Fulcio: a root and an intermediate authority, and a certificate transparency log. */
export class TestFulcio {
  readonly ctKeys = ecKeys();
  readonly #rootKeys = ecKeys();
  readonly #keys = ecKeys();
  readonly #from = new Date(Date.now() - 86_400_000);
  readonly #to = new Date(Date.now() + 86_400_000);
  readonly rootPem: string;
  readonly chainPem: string;

  constructor(options: FulcioOptions = {}) {
    const root = certificate({
      subject: "root",
      keys: this.#rootKeys,
      isCa: true,
      from: this.#from,
      to: this.#to,
      ...options.root,
    });
    const intermediate = certificate({
      subject: "intermediate",
      keys: this.#keys,
      issuer: { subject: "root", keys: this.#rootKeys },
      isCa: true,
      from: this.#from,
      to: this.#to,
      ...options.intermediate,
    });
    this.rootPem = certificatePem(root);
    this.chainPem = certificatePem(intermediate, root);
  }

  /** A key and a certificate for it, which is valid for ten minutes. */
  leaf(options: LeafOptions = {}): { readonly keys: KeyPair; readonly der: Buffer } {
    const keys = ecKeys();
    const { from = new Date(Date.now() - 60_000) } = options;
    const { email, names } = options;
    const hasUri = options.subject !== undefined || (email === undefined && names === undefined);
    const own = names === undefined ? [] : [extension("2.5.29.17", names)];
    const der = certificate({
      subject: "",
      keys,
      issuer: { subject: "intermediate", keys: this.#keys },
      from,
      to: options.to ?? new Date(from.getTime() + 600_000),
      ...(email !== undefined && { email }),
      ...(hasUri && { uri: options.subject ?? "https://git.test/team/app/release@main" }),
      oidcIssuer: options.issuer ?? "https://issuer.test",
      purpose: options.purpose,
      extensions: [...own, ...(options.extensions ?? [])],
      ...(options.withProof === true && { proofs: (tbs: Buffer) => this.#proofs(tbs) }),
    });
    return { keys, der };
  }

  /** A signed certificate timestamp (RFC 6962, 3.2 and 3.3). */
  #proofs(tbs: Buffer): Buffer {
    const uint = (value: number, bytes: number): Buffer => {
      const out = Buffer.alloc(bytes);
      out.writeUIntBE(value, 0, bytes);
      return out;
    };
    const at = Buffer.alloc(8);
    at.writeBigUInt64BE(BigInt(Date.now()));
    const signed = Buffer.concat([
      Buffer.from([0, 0]),
      at,
      Buffer.from([0, 1]),
      sha256(derOf(this.#keys)),
      uint(tbs.length, 3),
      tbs,
      uint(0, 2),
    ]);
    const signature = sign("sha256", signed, this.ctKeys.privateKey);
    const proof = Buffer.concat([
      Buffer.from([0]),
      sha256(derOf(this.ctKeys)),
      at,
      uint(0, 2),
      Buffer.from([4, 3]),
      uint(signature.length, 2),
      signature,
    ]);
    const list = Buffer.concat([uint(proof.length, 2), proof]);
    const whole = Buffer.concat([uint(list.length, 2), list]);
    // An OCTET STRING in the value of the extension.
    return whole;
  }
}

/** A signature in cosign's first format, by a key. */
export function simpleSignature(
  payload: Buffer,
  key: KeyObject,
  more: Partial<Simple> = {},
): Simple & { readonly signatureBytes: Buffer } {
  const signature = signBytes(payload, key);
  return {
    kind: "simple-signing",
    payload: payload.toString("base64"),
    signature: signature.toString("base64"),
    certificate: "",
    chain: "",
    rekorBundle: "",
    timestamp: "",
    ...more,
    signatureBytes: signature,
  };
}

/** The bytes that a DSSE envelope's signature is of. */
export function preAuthEncoding(payload: Buffer): Buffer {
  const type = "application/vnd.in-toto+json";
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
}

export interface BundleOptions {
  readonly key: KeyObject;
  /** DER; a key without it. */
  readonly certificate?: Buffer;
  readonly rekor?: TestRekor;
  readonly log?: LogOptions & { readonly promise?: boolean };
}

/** A bundle with a statement that cosign makes. */
export function statementBundle(
  digest: string,
  options: BundleOptions & { readonly predicateType?: string; readonly name?: string },
): string {
  const { predicateType = "https://sigstore.dev/cosign/sign/v1", name } = options;
  const payload = Buffer.from(
    JSON.stringify({
      _type: "https://in-toto.io/Statement/v1",
      subject: [
        { ...(name !== undefined && { name }), digest: { sha256: digest.replace("sha256:", "") } },
      ],
      predicateType,
      predicate: {},
    }),
  );
  const signed = preAuthEncoding(payload);
  const signature = signBytes(signed, options.key);
  return bundle(options, signed, signature, {
    dsseEnvelope: {
      payload: payload.toString("base64"),
      payloadType: "application/vnd.in-toto+json",
      signatures: [{ sig: signature.toString("base64") }],
    },
  });
}

/** A bundle with a signature of the bytes themselves. */
export function messageBundle(bytes: Buffer, options: BundleOptions): string {
  const signature = signBytes(bytes, options.key);
  return bundle(options, bytes, signature, {
    messageSignature: {
      messageDigest: { algorithm: "SHA2_256", digest: sha256(bytes).toString("base64") },
      signature: signature.toString("base64"),
    },
  });
}

function bundle(
  { certificate: der, rekor, log }: BundleOptions,
  signed: Buffer,
  signature: Buffer,
  content: object,
): string {
  return JSON.stringify({
    mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
    verificationMaterial: {
      ...(der === undefined
        ? { publicKey: { hint: "key" } }
        : { certificate: { rawBytes: der.toString("base64") } }),
      tlogEntries: rekor === undefined ? [] : [rekor.bundleEntry(signed, signature, log)],
    },
    ...content,
  });
}

/** Trusts nothing and nobody. */
export const noTrust: Trust = {
  keys: [],
  identities: [],
  trustedRoot: undefined,
  fulcioRoots: [],
  rekorKeys: [],
  ctKeys: [],
  transparencyLog: "auto",
  predicateTypes: ["https://sigstore.dev/cosign/sign/v1"],
};
