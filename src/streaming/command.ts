// Exec and attach: the connection carries the streams of a command and its end.
import { isKind, messageOf } from "../base/errors.ts";
import type { ClientStreams } from "../core/streaming/index.ts";
import type { CommandChoice, CommandPeer } from "../wire/remote-command/peer.ts";
import { acceptSpdyCommand, spdyCommandProtocols } from "../wire/remote-command/spdy-peer.ts";
import type { CommandEnd } from "../wire/remote-command/status.ts";
import { channelProtocols } from "../wire/remote-command/channels.ts";
import { acceptWebSocketCommand } from "../wire/remote-command/websocket-peer.ts";
import { acceptWebSocket } from "./websocket.ts";
import {
  chooseProtocol,
  headerWords,
  refuseUpgrade,
  switchProtocols,
  type Upgrade,
} from "./upgrade.ts";

/** Runs or attaches to a command with the streams of a client; resolves to how it ended. */
export type RunCommand = (streams: ClientStreams, signal: AbortSignal) => Promise<CommandEnd>;

/** Options of an exec or attach connection. */
export interface ServeCommandOptions {
  readonly choice: CommandChoice;
  readonly creationTimeoutMs: number;
  readonly run: RunCommand;
  /** The client is told that it is connected when `run` calls `onStarted`, or has ended; otherwise at once. */
  readonly tellsStart?: boolean;
}

/** Serves exec or attach over SPDY. Resolves when the client has received the end or has disconnected. */
export async function serveSpdyCommand(
  upgrade: Upgrade,
  options: ServeCommandOptions,
): Promise<void> {
  const name = "x-stream-protocol-version";
  const wanted = headerWords(upgrade.request, name);
  const protocol = chooseProtocol(wanted, spdyCommandProtocols, "channel.k8s.io");
  if (protocol === undefined) {
    const accepted = spdyCommandProtocols.map(
      (word) => `X-Accepted-Stream-Protocol-Versions: ${word}`,
    );
    const why = `unsupported protocols ${wanted.join(", ")}`;
    refuseUpgrade(upgrade, 403, why, accepted);
    return;
  }
  const chosen = wanted.length === 0 ? [] : [`X-Stream-Protocol-Version: ${protocol}`];
  switchProtocols(upgrade, ["Upgrade: SPDY/3.1", ...chosen]);
  const { choice, creationTimeoutMs } = options;
  const { transport } = upgrade;
  const start = startOf(options);
  const accepting = { transport, protocol, choice, creationTimeoutMs };
  const peer = await acceptSpdyCommand({ ...accepting, connected: start?.promise });
  await runFor(peer, options.run, start);
}

/** Serves exec or attach over WebSocket, like {@link serveSpdyCommand}. */
export async function serveWebSocketCommand(
  upgrade: Upgrade,
  options: ServeCommandOptions,
): Promise<void> {
  const name = acceptWebSocket(upgrade, [...channelProtocols.keys()], "channel.k8s.io");
  const protocol = channelProtocols.get(name ?? "");
  if (protocol === undefined) return;
  const { choice, run } = options;
  const start = startOf(options);
  const peer = acceptWebSocketCommand(upgrade.transport, protocol, choice, start?.promise);
  await runFor(peer, run, start);
}

/** The moment at which the client is told that it is connected; undefined: at once. */
type Start = PromiseWithResolvers<undefined> | undefined;

function startOf({ tellsStart }: ServeCommandOptions): Start {
  return tellsStart === true ? Promise.withResolvers<undefined>() : undefined;
}

/** Runs the command and sends its end to the client. */
async function runFor(peer: CommandPeer, run: RunCommand, start: Start): Promise<void> {
  const end = await endOf(peer, run, start);
  start?.resolve(undefined);
  // The client is told first.
  await start?.promise;
  await peer.finish(end);
}

async function endOf(peer: CommandPeer, run: RunCommand, start: Start): Promise<CommandEnd> {
  const onStarted = start && ((): void => start.resolve(undefined));
  try {
    return await run({ ...peer.streams, onStarted }, peer.signal);
  } catch (error) {
    // The client gets the reason when a command did not run.
    if (isKind(error, "canceled") && peer.signal.aborted)
      return { failure: "the client disconnected" };
    return { failure: messageOf(error) };
  }
}
