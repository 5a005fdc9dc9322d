// Opens the addresses that Exec, Attach and PortForward answer with, of any CRI server.
export {
  openRemoteCommand,
  type RemoteCommand,
  type RemoteCommandOptions,
} from "./remote-command.ts";
