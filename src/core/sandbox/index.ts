// Pod sandboxes: their states, their store, and the interface of sandbox controllers. Imports base, gen
// and core/operation. Start reading with sandbox.ts.
export { hasLayerLimit, layerLimitOf } from "./layer-limit.ts";
export { askedEgress, type EgressRule, hasNoNetwork } from "./network-limits.ts";
export { leaseIdOf, leaseLabel } from "./lease.ts";
export { askedPidsLimit } from "./pids-limit.ts";
export { removeAfterAnnotation, removedAfter } from "./remove-after.ts";
export type {
  RunPodSandboxRequest,
  UpdatePodSandboxResourcesRequest,
} from "../../gen/runtime/v1/api_pb.ts";
export type { CheckedSandboxConfig } from "./check-config.ts";
export { checkSandboxConfig } from "./check-config.ts";
export type {
  ControllerStatus,
  CreatedSandbox,
  SandboxController,
  SandboxEnvironment,
  SandboxExit,
  StartedSandbox,
  StatusQuestion,
} from "./controller.ts";
export { controllerNotReady, controllerReady } from "./controller.ts";
export type { CgroupResources, NamespaceStates, PodCgroups, PodLabeller } from "./environment.ts";
export {
  containerCgroup,
  containerOfCgroup,
  isAloneInCgroup,
  isScope,
  slicePath,
  specCgroup,
} from "./cgroup-paths.ts";
export {
  cgroupResources,
  cgroupResourcesOf,
  newSandboxId,
} from "./from-request.ts";
export type {
  OwnIds,
  OwnRange,
  PodCgroup,
  PodLabels,
  ProcessIdentity,
  Sandbox,
  SandboxNetwork,
} from "./sandbox.ts";
export { namespaceModes, sandboxName, usesHostNetwork } from "./sandbox.ts";
export type { IdPool } from "./own-ids.ts";
export {
  freeRange,
  neededNodeIds,
  nodeIdsOfPod,
  requestedConfig,
  withOwnIds,
} from "./own-ids.ts";
export type { SandboxState, SandboxStateName } from "./state.ts";
export { SandboxStore } from "./store.ts";
export { podSysctls } from "./sysctls.ts";
export type { IdRange, PodUsers } from "./user-namespace.ts";
export { isSameUserNamespace, podUsers } from "./user-namespace.ts";
