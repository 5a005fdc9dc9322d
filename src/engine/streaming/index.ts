// The targets of a client's streams: a command in a container, a container's own process, a port of a
// pod. They use only the interfaces of core. Start reading with targets.ts.
export {
  requestAttach,
  requestExec,
  requestPortForward,
  type StreamingContext,
} from "./requests.ts";
export { EngineTargets, type PodConnector } from "./targets.ts";
