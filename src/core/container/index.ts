// Containers: their states, their store, and the interface of container runtimes. Imports base, gen and
// the other nouns. Start reading with container.ts.
export type {
  Container,
  ContainerImage,
  ContainerImageVolume,
  ContainerRestore,
  ContainerUser,
} from "./container.ts";
export { chainsOf, layersOf } from "./container.ts";
export type { ClassOrigin, ResourceClasses } from "./classes.ts";
export type {
  CheckedConfig,
  ContainerSpecs,
  ExecProcess,
  ResourceUpdate,
  RootFiles,
  SpecSubject,
} from "./environment.ts";
export type {
  CreateContainerRequest,
  UpdateContainerResourcesRequest,
} from "../../gen/runtime/v1/api_pb.ts";
export type { BegunLog, ContainerLogs, LogLine, LogSelection } from "./logs.ts";
export type { OomEvents, OomKillCount, OomWatch } from "./oom-events.ts";
export { containerName, logPathIn, newContainerId, pathsOf } from "./from-request.ts";
export type {
  AttachedClient,
  CaptureRequest,
  ContainerBundle,
  ContainerCaptures,
  ContainerExit,
  ContainerFreezer,
  ContainerLimits,
  ContainerRuntime,
  ExecResult,
  ProcessClient,
  RestoreSource,
  StartedContainer,
} from "./runtime.ts";
export { logLineBytes } from "./runtime.ts";
export type { ContainerState, ContainerStateName } from "./state.ts";
export { ContainerStore } from "./store.ts";
export type { ContainerUsage, UsageReader } from "./usage.ts";
