import { rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { ImageVerifier } from "../../core/image/index.ts";
import type { SignatureChecker } from "./sigstore/signature-checker.ts";

/** The settings of the verifiers here. Paths are empty for none. */
export interface NodePolicySettings {
  readonly bindir: string;
  readonly bindirTimeoutSeconds: number;
  readonly maxVerifiers: number;
  readonly policyJson: string;
  readonly policyJsonDirectory: string;
}

/** The policy of containers/image, which has the addresses of GPG signatures in `registries.d` beside it. */
const usualPolicy = "/etc/containers/policy.json";

/**
 * The verifiers by what a node has for other runtimes: programs for containerd's `bindir` verifier, and
 * containers-policy.json(5). A policy that cannot be used is not an error yet, but `failed-precondition` for one that
 * is configured and missing: without it, all images would be accepted.
 */
export async function openNodePolicies(
  settings: NodePolicySettings,
  deps: {
    readonly log: Logger;
    /** The daemon's environment: programs get some of it, and it has the proxies. */
    readonly env: Readonly<Record<string, string | undefined>>;
    /** A directory of the daemon for verifiers; need not exist. */
    readonly directory: string;
    readonly checker: SignatureChecker;
  },
): Promise<readonly ImageVerifier[]> {
  const { log, env, checker } = deps;
  const verifiers: ImageVerifier[] = [];
  if (settings.bindir !== "") {
    const { BindirVerifier } = await import("./bindir.ts");
    const { bindir: directory, maxVerifiers } = settings;
    const timeoutMs = settings.bindirTimeoutSeconds * 1000;
    verifiers.push(new BindirVerifier({ directory, maxVerifiers, timeoutMs, env, log }));
  }
  if (settings.policyJson !== "" || settings.policyJsonDirectory !== "") {
    await requirePolicies(settings);
    const { PolicyJsonVerifier, KeptSignatures } = await import("./policy-json/index.ts");
    const workDirectory = join(deps.directory, "work");
    // What a run that was killed has left.
    await rm(workDirectory, { recursive: true, force: true });
    const verifier = new PolicyJsonVerifier({
      path: settings.policyJson,
      directory: settings.policyJsonDirectory,
      registriesDirectory: join(dirname(settings.policyJson || usualPolicy), "registries.d"),
      workDirectory,
      kept: new KeptSignatures({ directory: join(deps.directory, "gpg"), log }),
      env,
      checker,
    });
    if (settings.policyJson !== "") await warnOf(verifier, settings.policyJson, log);
    verifiers.push(verifier);
  }
  return verifiers;
}

/** Says that the policy of all pods may refuse images: on an upgraded node, nobody has asked davit to use it. */
async function warnOf(verifier: ImageVerifier, path: string, log: Logger): Promise<void> {
  const setting = "images.verification.policy_json";
  const next = `davit verify IMAGE explains it; set ${setting} to "" to ignore the file`;
  try {
    if (await verifier.acceptsEveryName("")) return;
    log.warn("images must satisfy a policy.json to be pulled and started", { path, setting, next });
  } catch (error) {
    const fields = { path, setting, error: messageOf(error), next };
    log.warn("all images are refused, since a policy.json cannot be used", fields);
  }
}

/** The policy at its usual place may be missing, since it belongs to other programs. */
async function requirePolicies({
  policyJson,
  policyJsonDirectory,
}: NodePolicySettings): Promise<void> {
  const wanted = [
    ["policy_json", policyJson === usualPolicy ? "" : policyJson],
    ["policy_json_directory", policyJsonDirectory],
  ] as const;
  for (const [key, path] of wanted) {
    if (path === "") continue;
    try {
      await stat(path);
    } catch (cause) {
      const setting = `images.verification.${key}`;
      const text = `open "${path}" of ${setting}: ${messageOf(cause)}; create it, or set ${setting} to "" to verify nothing by it`;
      throw new RuntimeError("failed-precondition", text, { cause });
    }
  }
}
