// The server's side of remote commands over WebSocket: each stream has a channel, and all channels
// are open from the start.
import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { type ChannelProtocol, Channels } from "./channels.ts";
import { type CommandChoice, type CommandPeer, endAndFlush, noSizes } from "./peer.ts";
import { readSizes } from "./sizes.ts";
import { formatEnd, formatStatus } from "./status.ts";

/** The channels of a command: the numbers of its file descriptors and two more. */
export const commandChannel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;

/**
 * Makes the peer of a command from a connection after its WebSocket handshake. The client gets an empty message when `connected`
 * settles, or at once.
 */
export function acceptWebSocketCommand(
  transport: Duplex,
  protocol: ChannelProtocol,
  choice: CommandChoice,
  connected?: Promise<unknown>,
): CommandPeer {
  const channels = new Channels(transport, "server", protocol);
  const stdin = choice.stdin ? channels.open(commandChannel.stdin) : undefined;
  const stdout = choice.stdout ? channels.open(commandChannel.stdout) : undefined;
  const hasStderr = choice.stderr && !choice.terminal;
  const stderr = hasStderr ? channels.open(commandChannel.stderr) : undefined;
  const error = channels.open(commandChannel.error);
  for (const output of [stdout, stderr, error]) output?.resume(); // clients send nothing there
  const sizes = choice.terminal ? readSizes(channels.open(commandChannel.resize)) : noSizes();
  const greet = (): void => {
    if (stdout !== undefined) channels.greet(commandChannel.stdout);
    else channels.greet(hasStderr ? commandChannel.stderr : commandChannel.error);
  };
  if (connected === undefined) greet();
  else connected.then(greet, greet);
  const gone = new AbortController();
  void channels.connection.closed.then((reason) => {
    gone.abort(
      new RuntimeError("unavailable", "serve command: the client disconnected", { cause: reason }),
    );
  });
  return {
    streams: { stdin, stdout, stderr, sizes },
    signal: gone.signal,
    finish: async (end) => {
      await Promise.all([endAndFlush(stdout), endAndFlush(stderr)]);
      await endAndFlush(error, protocol.status ? formatStatus(end) : formatEnd(end));
      channels.connection.close();
    },
  };
}
