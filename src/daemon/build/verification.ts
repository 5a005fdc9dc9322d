import { lstatSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import { systemClock } from "../../base/time.ts";
import type { Config } from "../../config/config.ts";
import type { ImageSource, SignatureRegistry } from "../../core/image/index.ts";
import type { ImageVerification } from "../../engine/image/index.ts";

// Of containers/image, and the default.
const usualPolicyJson = "/etc/containers/policy.json";

/** The verification of images. Undefined, and none of its code is loaded, where nothing is configured. */
export async function verificationOf(
  { root, images }: Config,
  { registry, log }: { readonly registry: ImageSource & SignatureRegistry; readonly log: Logger },
): Promise<ImageVerification | undefined> {
  if (!isConfigured(images.verification)) return undefined;
  const { KeptFiles, openVerifiers } = await import("../../drivers/verification/index.ts");
  const { ImageVerification: Verification } = await import("../../engine/image/verification.ts");
  const directory = join(root, "verification");
  const verifiers = await openVerifiers(images.verification, {
    directory,
    env: process.env,
    log,
  });
  if (verifiers.length === 0) return undefined;
  log.info("verifying images", { verifiers: verifiers.map(({ name }) => name) });
  return new Verification({
    verifiers,
    registry,
    source: registry,
    kept: new KeptFiles(join(directory, "images"), log),
    loaded: images.verification.loaded,
    log,
    clock: systemClock,
  });
}

function isConfigured(settings: Config["images"]["verification"]): boolean {
  const { bindir, policyJson, policyJsonDirectory, policies } = settings;
  if (bindir !== "" || policyJsonDirectory !== "" || policies.length > 0) return true;
  // A link that leads nowhere and a file that cannot be read are no reason to accept all images.
  return policyJson !== "" && isThere(policyJson);
}

/** Whether there is anything at the path; one that is configured and not usual must be there (`openVerifiers`). */
function isThere(path: string): boolean {
  if (path !== usualPolicyJson) return true;
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}
