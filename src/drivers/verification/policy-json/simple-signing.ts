import { type Digest, isDigest } from "../../../base/digest.ts";
import {
  entriesOf,
  fieldsOf,
  invalid,
  type JsonValue,
  parseStrictJson,
  required,
  shown,
  textOf,
} from "./strict-json.ts";

/** What a signature says: this name is that manifest (containers-signature(5)). */
export interface SignedClaim {
  readonly digest: Digest;
  /** The name of the image, as the signer wrote it. */
  readonly reference: string;
}

/** The types of claims: of simple signing by GPG, and of cosign. */
export type ClaimType = "atomic container signature" | "cosign container image signature";

/**
 * Reads a claim whose signature is verified, as strictly as containers/image: keys that are not known are
 * refused, except in its part `optional`. Throws `failed-precondition`.
 */
export function parseClaim(text: string, type: ClaimType): SignedClaim {
  const json = parseStrictJson(text, "the signed claim");
  const { critical, optional } = exactly(json, ["critical", "optional"]);
  // cosign writes null where there is nothing.
  if (type === "atomic container signature" || optional.value !== null) entriesOf(optional);
  const fields = exactly(critical, ["type", "image", "identity"]);
  if (textOf(fields.type) !== type) {
    throw invalid(fields.type.where, `it is ${shown(textOf(fields.type))}, not "${type}"`);
  }
  const image = exactly(fields.image, ["docker-manifest-digest"]);
  const digest = textOf(image["docker-manifest-digest"]);
  if (!isDigest(digest)) {
    throw invalid(image["docker-manifest-digest"].where, `${shown(digest)} is not a sha256 digest`);
  }
  const identity = exactly(fields.identity, ["docker-reference"]);
  return { digest, reference: textOf(identity["docker-reference"]) };
}

function exactly<Key extends string>(
  json: JsonValue,
  keys: readonly Key[],
): { readonly [K in Key]: JsonValue } {
  const fields = fieldsOf(json, keys);
  const entries = keys.map((key) => [key, required(fields[key], json.where, key)] as const);
  return Object.fromEntries(entries) as { [K in Key]: JsonValue };
}
