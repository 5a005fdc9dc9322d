import { type Check, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("configuration", {
  fine: ["ok", ""],
  invalid: ["error", "davit serve does not start with it; the other checks went by the defaults"],
  "root-in-state": ["warning", "what is in the state directory may be gone after a reboot"],
});

/** The configuration file: whether davit serve would take it. */
export const configurationCheck: Check = {
  group: kinds.group,
  title: "Configuration",
  catalogue: kinds,
  examine: (subject: DoctorContext) => Promise.resolve(examine(subject)),
};

function examine({ config, configFile, configProblems }: DoctorContext): readonly Finding[] {
  const file = configFile ?? "the built-in defaults";
  if (configProblems.length > 0) {
    const fix = `fix ${file}; davit config check ${file} says when it is right`;
    return configProblems.map((problem) => kinds.report("invalid", problem, fix));
  }
  const found: Finding[] = [];
  if (`${config.root}/`.startsWith(`${config.state}/`)) {
    const text = `root "${config.root}" is in state "${config.state}"`;
    found.push(kinds.report("root-in-state", text, "set root to a directory on a disk"));
  }
  return found.length > 0 ? found : [kinds.report("fine", file)];
}
