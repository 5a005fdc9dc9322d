import type { Logger } from "../../base/logger.ts";
import type { ImageVerifier } from "../../core/image/index.ts";
import { type NodePolicySettings, openNodePolicies } from "./node-policies.ts";
import type { SigstoreSettings } from "./sigstore/sigstore-verifier.ts";

/** The settings of [images.verification] that verifiers use; the configuration has this form. */
export interface VerificationSettings extends SigstoreSettings, NodePolicySettings {}

/** What verifiers share. */
export interface VerifierDeps {
  /** A directory of the daemon for them; need not exist. */
  readonly directory: string;
  /** The daemon's environment: programs get some of it, and it has the proxies. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
}

/**
 * The verifiers that are configured. `failed-precondition` with the key and the file for a policy that
 * cannot be used.
 */
export async function openVerifiers(
  settings: VerificationSettings,
  deps: VerifierDeps,
): Promise<readonly ImageVerifier[]> {
  const verifiers: ImageVerifier[] = [];
  const { CheckerProcess } = await import("./sigstore/checker-process.ts");
  const checker = new CheckerProcess();
  if (settings.policies.length > 0) {
    const { SigstoreVerifier } = await import("./sigstore/sigstore-verifier.ts");
    verifiers.push(await SigstoreVerifier.open(settings, checker));
  }
  return [...verifiers, ...(await openNodePolicies(settings, { ...deps, checker }))];
}
