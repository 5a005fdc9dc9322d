import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import type { ImageVerifier } from "../../core/image/index.ts";
import type { SigstoreSettings } from "./sigstore/sigstore-verifier.ts";

/** The settings of [images.verification] that verifiers use; the configuration has this form. */
export interface VerificationSettings extends SigstoreSettings {
  /** Empty for none, here and below. */
  readonly bindir: string;
  readonly bindirTimeoutSeconds: number;
  readonly maxVerifiers: number;
  readonly policyJson: string;
  readonly policyJsonDirectory: string;
}

/** What verifiers share. */
export interface VerifierDeps {
  /** A directory of the daemon for them; need not exist. */
  readonly directory: string;
  readonly log: Logger;
}

/**
 * The verifiers that are configured. `failed-precondition` with the key and the file for a policy that
 * cannot be used.
 */
export async function openVerifiers(
  settings: VerificationSettings,
  { directory }: VerifierDeps,
): Promise<readonly ImageVerifier[]> {
  const verifiers: ImageVerifier[] = [];
  if (settings.policies.length > 0) {
    const { SigstoreVerifier } = await import("./sigstore/sigstore-verifier.ts");
    const { CheckerProcess } = await import("./sigstore/checker-process.ts");
    const checker = new CheckerProcess({ directory: join(directory, "empty") });
    verifiers.push(await SigstoreVerifier.open(settings, checker));
  }
  return verifiers;
}
