// The targets of a client's streams: a command in a container, a container's own process, a port of a
// pod. They use only the interfaces of core. Start reading with targets.ts.
export type { CommandInput } from "./command-inputs.ts";
export type { CommandOutput } from "./command-outputs.ts";
export { type CommandRequest, runCommand } from "./command-session.ts";
export {
  requestAttach,
  requestExec,
  requestPortForward,
  type StreamingContext,
} from "./requests.ts";
export { EngineTargets, type PodConnector } from "./targets.ts";
