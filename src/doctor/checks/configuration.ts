import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import { policyTroubles } from "./image-policies.ts";

const kinds = catalogue("configuration", {
  fine: ["ok", ""],
  invalid: [
    "error",
    "davit serve does not start with this file; the other checks use the defaults",
  ],
  "root-in-state": [
    "warning",
    "a reboot may delete the state directory, and images and records with it",
  ],
  "policy-unusable": ["error", "images that the policy is for are neither pulled nor started"],
  "policy-program-missing": [
    "error",
    "images that need a signature of this kind are neither pulled nor started",
  ],
  "image-key-unusable": ["warning", "images that only this key decrypts cannot be pulled"],
  "policy-strict": ["note", "images that do not satisfy it are neither pulled nor started"],
});

/** Whether davit serve accepts the configuration file. */
export const configurationCheck: Check = {
  group: kinds.group,
  title: "Configuration",
  catalogue: kinds,
  examine,
};

async function examine(context: DoctorContext): Promise<readonly Finding[]> {
  const { config, configFile, configProblems } = context;
  const file = configFile ?? "the defaults";
  if (configProblems.length > 0) {
    const fix = `edit ${file}, then run: davit config check ${file}`;
    return configProblems.map((problem) => kinds.report("invalid", problem, fix));
  }
  const found: Finding[] = [];
  if (`${config.root}/`.startsWith(`${config.state}/`)) {
    const text = `root "${config.root}" is inside state "${config.state}"`;
    found.push(kinds.report("root-in-state", text, "set root to a directory on a disk"));
  }
  for (const { name, text, fix } of await policyTroubles(context)) {
    found.push(kinds.report(name, text, fix));
  }
  found.push(...(await imageKeys(context)));
  return found.length > 0 ? found : [kinds.report("fine", file)];
}

/** Only where keys are configured. */
async function imageKeys({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  const directory = config.images.decryptionKeysPath;
  if (directory === "") return [];
  const { count, problems } = await host.readImageKeys(directory);
  const none = `"${directory}" has no private key`;
  const texts = count === 0 && problems.length === 0 ? [none] : problems;
  const fix = `put private keys into "${directory}" (images.decryption_keys_path), as files of root with mode 0600`;
  return texts.map((text) => kinds.report("image-key-unusable", text, fix));
}
