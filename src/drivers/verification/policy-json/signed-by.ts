import { createHash } from "node:crypto";

import type { Digest } from "../../../base/digest.ts";
import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { CheckedSignature, ImageToVerify } from "../../../core/image/index.ts";
import type { ProxyEnv } from "../../../wire/local-address.ts";
import { type Evaluation, type KeyFile, namesOf } from "./evaluation.ts";
import { Gpg } from "./gpg.ts";
import type { KeptSignatures } from "./kept-signatures.ts";
import { shownUrl } from "./lookaside.ts";
import { signatureStore } from "./registries-d.ts";
import type { Requirement, SignedBy } from "./requirement.ts";
import { describeIdentity, matchesIdentity } from "./signed-identity.ts";
import { parseClaim } from "./simple-signing.ts";

/** Where GPG signatures are, and where gpg may keep its files while it runs. */
export interface GpgSettings {
  readonly registriesDirectory: string;
  readonly workDirectory: string;
  readonly kept: KeptSignatures;
  readonly env: ProxyEnv;
}

/** Checks the requirement `signedBy`: one signature by one of the keys is enough. Rejects as {@link Gpg} does. */
export async function evaluateSignedBy(
  requirement: SignedBy & Requirement,
  image: ImageToVerify,
  options: GpgSettings & { readonly keys: readonly KeyFile[]; readonly signal: AbortSignal },
): Promise<Evaluation> {
  if (requirement.keyType !== "GPGKeys") {
    throw new RuntimeError(
      "failed-precondition",
      `check ${requirement.where}: no signature can satisfy keyType "${requirement.keyType}"; use "GPGKeys"`,
    );
  }
  const { reference, target, manifest } = image;
  const { env, signal, keys, kept, workDirectory } = options;
  const store = await signatureStore(options.registriesDirectory, reference);
  const digests = [...new Set([target.digest, manifest.digest])];
  const found: Uint8Array[] = [];
  for (const digest of digests) {
    found.push(...(await kept.read(store, { reference, digest }, { env, signal })));
  }
  const wanted = `by ${namesOf(requirement.keys, "keyring").join(" or ")}`;
  if (found.length === 0) {
    const place = `${shownUrl(store)}/${reference.repository}`;
    return {
      accepted: false,
      reason: `there is no GPG signature in "${place}"`,
      wanted,
      signatures: [],
    };
  }
  await using gpg = await Gpg.open(
    keys.map(({ bytes }) => bytes),
    { directory: workDirectory, signal },
  );
  const signatures: CheckedSignature[] = [];
  for (const signature of found) {
    const checked = await check(gpg, signature, { requirement, image, digests, signal });
    signatures.push(checked);
    if (checked.valid) return { accepted: true, reason: `signed ${wanted}`, wanted, signatures };
  }
  return { accepted: false, reason: "no GPG signature counts", wanted, signatures };
}

async function check(
  gpg: Gpg,
  signature: Uint8Array,
  about: {
    readonly requirement: SignedBy;
    readonly image: ImageToVerify;
    readonly digests: readonly Digest[];
    readonly signal: AbortSignal;
  },
): Promise<CheckedSignature> {
  const { requirement, image, digests, signal } = about;
  const hex = createHash("sha256").update(signature).digest("hex");
  const base = { digest: `sha256:${hex}` as const, format: "gpg" };
  const verified = await gpg.verify(signature, signal);
  if (verified.reason !== undefined) {
    return { ...base, signer: "", valid: false, reason: verified.reason };
  }
  const { signer } = verified;
  const refused = (reason: string): CheckedSignature => ({ ...base, signer, valid: false, reason });
  let claim;
  try {
    claim = parseClaim(verified.text, "atomic container signature");
  } catch (error) {
    return refused(messageOf(error));
  }
  if (!digests.includes(claim.digest)) return refused(`it signs ${claim.digest}`);
  if (!matchesIdentity(requirement.signedIdentity, image.reference, claim.reference)) {
    const expected = describeIdentity(requirement.signedIdentity, image.reference);
    return refused(`it signs ${JSON.stringify(claim.reference.slice(0, 300))}, not "${expected}"`);
  }
  return { ...base, signer, valid: true, reason: "" };
}
