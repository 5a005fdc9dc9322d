import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

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
});

/** Whether davit serve accepts the configuration file. */
export const configurationCheck: Check = {
  group: kinds.group,
  title: "Configuration",
  catalogue: kinds,
  examine: (context: DoctorContext) => Promise.resolve(examine(context)),
};

function examine({ config, configFile, configProblems }: DoctorContext): readonly Finding[] {
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
  return found.length > 0 ? found : [kinds.report("fine", file)];
}
