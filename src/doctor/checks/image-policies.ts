import { messageOf } from "../../base/errors.ts";
import type { DoctorContext } from "../check.ts";

/** What is wrong with the files that policies for images name. */
export interface PolicyTrouble {
  readonly name: "policy-unusable" | "policy-program-missing" | "policy-strict";
  readonly text: string;
  readonly fix: string;
}

/** Reads the policies for images. Keys are only looked for: davit serve parses them. */
export async function policyTroubles(context: DoctorContext): Promise<readonly PolicyTrouble[]> {
  const { policies, policyJson } = context.config.images.verification;
  const found: PolicyTrouble[] = [];
  for (const { keys, trustedRoot, fulcioRoots, rekorKeys, ctKeys } of policies) {
    const roots = trustedRoot === "" ? [] : [trustedRoot];
    const files = [...keys, ...roots, ...fulcioRoots, ...rekorKeys, ...ctKeys];
    found.push(...(await missing(context, files, "images.verification.policies")));
  }
  const text = policyJson === "" ? undefined : await context.host.read(policyJson);
  return text === undefined
    ? found
    : [...found, ...(await ofPolicyJson(context, policyJson, text))];
}

async function ofPolicyJson(
  context: DoctorContext,
  path: string,
  text: string,
): Promise<readonly PolicyTrouble[]> {
  const { needsOfPolicy } = await import("../../drivers/verification/index.ts");
  const ignore = 'set images.verification.policy_json to "" to ignore the file';
  try {
    const needs = await needsOfPolicy(text, path);
    if (needs === undefined) return [];
    const programs = needs.programs.filter((name) => !context.host.findProgram(name));
    return [
      ...(await missing(context, needs.files, `"${path}"`)),
      ...programs.map(
        (name): PolicyTrouble => ({
          name: "policy-program-missing",
          text: `"${path}" needs ${name}, which is not installed`,
          fix: `apt-get install ${packageOf(name)}`,
        }),
      ),
      {
        name: "policy-strict",
        text: `images must satisfy "${path}"`,
        fix: `davit verify IMAGE explains it for an image; ${ignore}`,
      },
    ];
  } catch (error) {
    const fix = `repair the file, or ${ignore}, and restart davit`;
    return [{ name: "policy-unusable", text: messageOf(error), fix }];
  }
}

async function missing(
  { host }: DoctorContext,
  files: readonly string[],
  where: string,
): Promise<readonly PolicyTrouble[]> {
  const found: PolicyTrouble[] = [];
  for (const path of new Set(files)) {
    if ((await host.fileInfo(path))?.kind === "file") continue;
    const text = `${where} names "${path}", which does not exist`;
    found.push({ name: "policy-unusable", text, fix: `restore "${path}", or change the policy` });
  }
  return found;
}

function packageOf(program: string): string {
  if (program === "gpg") return "gnupg";
  return program === "setpriv" ? "util-linux" : program;
}
