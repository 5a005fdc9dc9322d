// What a client's streams are carried to: a command in a container, a container's own process, a port
// of a pod. Works on the interfaces of core alone. Start with targets.ts.
export {
  requestAttach,
  requestExec,
  requestPortForward,
  type StreamingContext,
} from "./requests.ts";
export { EngineTargets, type PodConnector } from "./targets.ts";
