// Opens the addresses that Exec, Attach and PortForward answer with, of any CRI server.
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
