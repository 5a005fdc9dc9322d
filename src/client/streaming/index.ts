// Clients for the addresses that Exec, Attach and PortForward of any CRI server return.
export {
  openRemoteCommand,
  type RemoteCommand,
  type RemoteCommandOptions,
} from "./remote-command.ts";
export {
  type ForwardedConnection,
  openPortForward,
  type PortForward,
  type PortForwardOptions,
} from "./port-forward.ts";
export { openDavitExec } from "./davit-exec.ts";
export { RequestQueue } from "./request-queue.ts";
export { type LocalPort, type LocalPortOptions, openLocalPort } from "./local-port.ts";
