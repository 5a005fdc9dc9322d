// The container verbs: create, start, stop, remove, exec, and recovery after a restart. They use only
// the interfaces of core. Start reading with create.ts.
export type { ContainerContext, ContainerTimes } from "./context.ts";
export {
  checkCommand,
  defaultContainerTimes,
  runningContainer,
  runtimeOf,
  execSubject,
} from "./context.ts";
export { createContainer } from "./create.ts";
export { execSync } from "./exec-sync.ts";
export { DeniedCalls } from "./denied-calls.ts";
export { OomKills } from "./oom-kills.ts";
export { removeContainersOf, stopContainersOf } from "./of-sandbox.ts";
export { type ContainerFilter, listContainers } from "./list.ts";
export { checkNotPaused, pausedSince } from "./paused.ts";
export { pluginHost } from "./plugin-host.ts";
export { type LogRequest, readContainerLog } from "./read-log.ts";
export { recoverContainers } from "./recover.ts";
export { removeContainer } from "./remove.ts";
export { completeRotations, reopenContainerLog } from "./reopen-log.ts";
export { startContainer } from "./start.ts";
export { CancellableOperations } from "../lifecycle/cancellable-operations.ts";
export { type ContainerInfo, type ContainerStatus, containerStatus } from "./status.ts";
export { stopContainer } from "./stop.ts";
export { updateContainerResources } from "./update.ts";
export { endById } from "./stop.ts";
export { containerUsage } from "./usage.ts";
export { userOfCommand } from "./user.ts";
