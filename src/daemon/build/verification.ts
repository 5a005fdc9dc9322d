import { existsSync } from "node:fs";
import type { Logger } from "../../base/logger.ts";
import type { VerificationConfig } from "../../config/config.ts";
import type { ImageVerifier } from "../../core/image/index.ts";

/** The verifiers of images. Empty, and none of their code is loaded, where none is configured. */
export async function verifiersOf(
  settings: VerificationConfig,
  log: Logger,
): Promise<readonly ImageVerifier[]> {
  if (!isConfigured(settings)) return [];
  const { openVerifiers } = await import("../../drivers/verification/index.ts");
  return await openVerifiers(settings, { log });
}

function isConfigured(settings: VerificationConfig): boolean {
  const { bindir, policyJson, policyJsonDirectory, policies } = settings;
  if (bindir !== "" || policyJsonDirectory !== "" || policies.length > 0) return true;
  return policyJson !== "" && existsSync(policyJson);
}
