import type { Logger } from "../../base/logger.ts";
import type { ImageVerifier } from "../../core/image/index.ts";

/** The settings of [images.verification] that verifiers use; the configuration has this form. */
export interface VerificationSettings {
  /** Empty for none, here and below. */
  readonly bindir: string;
  readonly bindirTimeoutSeconds: number;
  readonly maxVerifiers: number;
  readonly policyJson: string;
  readonly policyJsonDirectory: string;
}

/** What verifiers share. */
export interface VerifierDeps {
  readonly log: Logger;
}

/**
 * The verifiers that are configured. `failed-precondition` with the key and the file for a policy that
 * cannot be used.
 */
export function openVerifiers(
  _settings: VerificationSettings,
  _deps: VerifierDeps,
): Promise<readonly ImageVerifier[]> {
  return Promise.resolve([]);
}
