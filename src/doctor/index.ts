// Checks of a node: everything that davit needs of a machine, from the kernel to the registries. `examine`
// runs the checks against a `Host` and returns findings, each with its severity, its reason and its fix;
// nothing here prints. `ThisHost` is the machine that the process runs on.
export { type DirectoryOwner, readOwner } from "./directory-owner.ts";
export { checks, examine, type GroupReport, type Report } from "./examine.ts";
export type { Finding, Severity } from "./finding.ts";
export { ThisHost } from "./this-host.ts";
export { examineUpgrade, recordedPods, type UpgradeReport } from "./upgrade.ts";
