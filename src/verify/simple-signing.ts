import { createHash, type KeyObject, timingSafeEqual, verify } from "node:crypto";
import type { TransparencyLogEntry } from "@sigstore/bundle";
import { RFC3161Timestamp } from "@sigstore/core";
import type { SignedEntity } from "@sigstore/verify";
import { simpleClaims } from "./claims.ts";
import type { SignatureToCheck } from "./protocol.ts";
import type { Candidate } from "./candidate.ts";
import { parseCertificates } from "./trust.ts";

type Simple = Extract<SignatureToCheck, { readonly kind: "simple-signing" }>;

/** A signature in cosign's first format. Throws for one that cannot be read. */
export function simpleCandidate(signature: Simple): Candidate {
  const payload = Buffer.from(signature.payload, "base64");
  const [certificate] = parseCertificates(signature.certificate);
  if (signature.certificate !== "" && certificate === undefined) {
    throw new Error("its certificate is not PEM");
  }
  const entries = signature.rekorBundle === "" ? [] : [logEntry(signature.rekorBundle)];
  const stamps = signature.timestamp === "" ? [] : [timestamp(signature.timestamp)];
  return {
    content: new PayloadSignature(payload, Buffer.from(signature.signature, "base64")),
    certificate,
    intermediates: parseCertificates(signature.chain).slice(0, 5),
    logEntries: entries,
    timestamps: [
      ...entries.map((tlogEntry) => ({ $case: "transparency-log" as const, tlogEntry })),
      ...stamps.map((stamp) => ({ $case: "timestamp-authority" as const, timestamp: stamp })),
    ],
    claims: () => simpleClaims(payload),
  };
}

/** A signature over the bytes of a payload. */
class PayloadSignature implements ContentOf {
  readonly signature: Buffer;
  readonly #payload: Buffer;

  constructor(payload: Buffer, signature: Buffer) {
    this.#payload = payload;
    this.signature = signature;
  }

  compareSignature(other: Buffer): boolean {
    return isEqual(other, this.signature);
  }

  compareDigest(digest: Buffer): boolean {
    return isEqual(digest, createHash("sha256").update(this.#payload).digest());
  }

  compareSignedDigest(digest: Buffer): boolean {
    return this.compareDigest(digest);
  }

  verifySignature(key: KeyObject): boolean {
    // Ed25519 hashes by itself.
    const algorithm = key.asymmetricKeyType === "ed25519" ? null : "sha256";
    try {
      return verify(algorithm, this.#payload, key, this.signature);
    } catch {
      return false;
    }
  }
}

type ContentOf = SignedEntity["signature"];

function isEqual(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

interface RekorBundle {
  readonly SignedEntryTimestamp?: unknown;
  readonly Payload?: {
    readonly body?: unknown;
    readonly integratedTime?: unknown;
    readonly logIndex?: unknown;
    readonly logID?: unknown;
  };
}

/** The entry of Rekor in cosign's annotation, with its signed entry timestamp. */
function logEntry(json: string): TransparencyLogEntry {
  const { SignedEntryTimestamp: promise, Payload: payload } = JSON.parse(json) as RekorBundle;
  const { body, integratedTime, logIndex, logID } = payload ?? {};
  if (typeof promise !== "string" || typeof body !== "string" || typeof logID !== "string") {
    throw new Error("its entry of the transparency log is incomplete");
  }
  if (!Number.isSafeInteger(integratedTime) || !Number.isSafeInteger(logIndex)) {
    throw new Error("its entry of the transparency log has no time or index");
  }
  const canonicalizedBody = Buffer.from(body, "base64");
  const said = JSON.parse(canonicalizedBody.toString("utf8")) as {
    readonly kind?: unknown;
    readonly apiVersion?: unknown;
  };
  return {
    logIndex: String(logIndex),
    logId: { keyId: Buffer.from(logID, "hex") },
    kindVersion: { kind: String(said.kind), version: String(said.apiVersion) },
    integratedTime: String(integratedTime),
    inclusionPromise: { signedEntryTimestamp: Buffer.from(promise, "base64") },
    inclusionProof: undefined,
    canonicalizedBody,
  };
}

function timestamp(json: string): RFC3161Timestamp {
  const { SignedRFC3161Timestamp: signed } = JSON.parse(json) as {
    readonly SignedRFC3161Timestamp?: unknown;
  };
  if (typeof signed !== "string") throw new Error("its signed timestamp is empty");
  return RFC3161Timestamp.parse(Buffer.from(signed, "base64"));
}
