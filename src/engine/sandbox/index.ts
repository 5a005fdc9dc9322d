// The sandbox verbs: run, stop, remove, status, update, and recovery after a restart. They use only
// the interfaces of core. Start reading with run.ts.
export type { OwnIdsPolicy, SandboxContainers, SandboxContext, SandboxTimes } from "./context.ts";
export { controllerOf, defaultTimes } from "./context.ts";
export { listPodSandboxes, type SandboxFilter } from "./list.ts";
export { recoverSandboxes } from "./recover.ts";
export { removePodSandbox } from "./remove.ts";
export { removeUnattended } from "./remove-unattended.ts";
export { runPodSandbox } from "./run.ts";
export type { SandboxInfo, SandboxStatus, StatusContext } from "./status.ts";
export { podSandboxStatus, recordedStatus } from "./status.ts";
export { stopPodSandbox } from "./stop.ts";
export { updatePodSandboxResources } from "./update-resources.ts";
