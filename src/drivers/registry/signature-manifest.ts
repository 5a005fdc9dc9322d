import { type Digest, isDigest } from "../../base/digest.ts";
import type { Descriptor, SimpleSignature } from "../../core/image/index.ts";
import { asRecord, HostFailure } from "./failure.ts";

type Json = Readonly<Record<string, unknown>>;

const simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json";
const bundleType = /^application\/vnd\.dev\.sigstore\.bundle(\.v0\.\d+)?\+json/;
const cosignType = "application/vnd.dev.cosign.artifact.sig.v1+json";
// cosign 2.5 gives its bundles this type in the list at the tag, where a registry has no referrers API: it takes the
// type of the config there, and not that of the artifact.
const emptyType = "application/vnd.oci.empty.v1+json";

/** What is read of a signature's annotations. */
type Annotations = Pick<
  SimpleSignature,
  "signature" | "certificate" | "chain" | "rekorBundle" | "timestamp"
>;

/** A layer of a manifest with signatures. */
export interface SignatureLayer {
  readonly kind: "simple-signing" | "bundle";
  readonly blob: Descriptor;
  readonly annotations: Annotations;
}

/**
 * The manifests that may have signatures in a list of referrers (distribution-spec, "Listing Referrers"): first those
 * whose type says so, then, in the list at a tag, those of which cosign wrote another type.
 */
export function parseReferrers(
  bytes: Uint8Array,
  { isAtTag = false }: { readonly isAtTag?: boolean } = {},
): readonly Descriptor[] {
  const { manifests } = parseObject(bytes, "list of referrers");
  const records = (Array.isArray(manifests) ? manifests : []).map((raw: unknown) => asRecord(raw));
  const ofTypes = (isWanted: (type: string) => boolean): readonly Descriptor[] =>
    records.flatMap((record = {}) => {
      const found = isWanted(textOf(record["artifactType"])) ? descriptorOf(record) : undefined;
      return found === undefined ? [] : [found];
    });
  const certain = ofTypes((type) => bundleType.test(type) || type === cosignType);
  return isAtTag ? [...certain, ...ofTypes((type) => type === emptyType)] : certain;
}

/** The layers of a manifest that are signatures; others are ignored. */
export function parseSignatureManifest(bytes: Uint8Array): readonly SignatureLayer[] {
  const { layers } = parseObject(bytes, "manifest of signatures");
  if (!Array.isArray(layers)) return [];
  return layers.flatMap((raw: unknown) => {
    const record = asRecord(raw) ?? {};
    const blob = descriptorOf(record);
    if (blob === undefined) return [];
    const kind = kindOfType(blob.mediaType);
    if (kind === undefined) return [];
    return [{ kind, blob, annotations: annotationsOf(asRecord(record["annotations"]) ?? {}) }];
  });
}

function kindOfType(mediaType: string): SignatureLayer["kind"] | undefined {
  if (mediaType === simpleSigning) return "simple-signing";
  return bundleType.test(mediaType) ? "bundle" : undefined;
}

/** cosign's annotations (cosign, specs/SIGNATURE_SPEC.md). */
function annotationsOf(raw: Json): Annotations {
  return {
    signature: textOf(raw["dev.cosignproject.cosign/signature"]),
    certificate: textOf(raw["dev.sigstore.cosign/certificate"]),
    chain: textOf(raw["dev.sigstore.cosign/chain"]),
    rekorBundle: textOf(raw["dev.sigstore.cosign/bundle"]),
    timestamp: textOf(raw["dev.sigstore.cosign/rfc3161timestamp"]),
  };
}

function descriptorOf({ mediaType, digest, size }: Json): Descriptor | undefined {
  if (typeof mediaType !== "string" || typeof digest !== "string" || !isDigest(digest)) {
    return undefined;
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return undefined;
  return { mediaType, digest, sizeBytes: BigInt(size) };
}

function parseObject(bytes: Uint8Array, what: string): Json {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    const record = asRecord(JSON.parse(text));
    if (record !== undefined) return record;
  } catch {
    // The same as another kind of JSON.
  }
  throw new HostFailure("data-loss", `sent a ${what} that is not a JSON object`);
}

/** Where the signatures of an image are, where a registry has no other way: the tag of cosign's or of the OCI. */
export function tagOf(of: Digest, suffix: ".sig" | ""): string {
  return `${of.replace(":", "-")}${suffix}`;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
