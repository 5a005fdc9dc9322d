// The client's side of exec and attach, to any CRI server. Start at openRemoteCommand.
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { RuntimeError } from "../../base/errors.ts";
import { formatSize, type Size } from "../../wire/remote-command/sizes.ts";
import { type CommandEnd, parseStatus } from "../../wire/remote-command/status.ts";
import { SpdySession } from "../../wire/spdy/session.ts";
import type { SpdyStream } from "../../wire/spdy/stream.ts";
import type { MuxStream } from "../../wire/mux/mux-stream.ts";
import { channelProtocols, Channels } from "../../wire/remote-command/channels.ts";
import { commandChannel } from "../../wire/remote-command/websocket-peer.ts";
import { dial, dialWebSocket } from "./dial.ts";

/** How to connect, and which streams. They must be those that the address was asked for with. */
export interface RemoteCommandOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** There is no stderr then. */
  readonly terminal: boolean;
  /** SPDY unless this says otherwise: every CRI server has it. */
  readonly transport?: "spdy" | "websocket";
  /** Ends the connecting, and later the connection. */
  readonly signal?: AbortSignal;
}

/** A command that runs elsewhere. Its outputs must be read, or it stands still. */
export interface RemoteCommand {
  /** End it to tell the command that nothing follows. */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Tells the command the size of the terminal; of no effect without one. */
  resize(size: Size): void;
  /**
   * How the command ended; an attach that ends has exit code 0. Rejects with `unavailable` when the
   * connection is lost first. Outputs may still hold what came before it.
   */
  readonly end: Promise<CommandEnd>;
  /** Leaves. A command that runs under exec is ended by that, a container one is attached to is not. */
  close(): void;
}

/** Connects to an address of the Exec or Attach RPC. */
export function openRemoteCommand(
  url: string,
  options: RemoteCommandOptions,
): Promise<RemoteCommand> {
  return options.transport === "websocket"
    ? openByWebSocket(url, options)
    : openBySpdy(url, options);
}

const protocols = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

async function openBySpdy(url: string, options: RemoteCommandOptions): Promise<RemoteCommand> {
  const { transport, headers } = await dial(url, {
    method: "POST",
    headers: { upgrade: "SPDY/3.1", "x-stream-protocol-version": protocols },
    signal: options.signal,
  });
  const protocol = headers["x-stream-protocol-version"];
  const session = new SpdySession({ transport, role: "client" });
  options.signal?.addEventListener("abort", () => session.destroy(), { once: true });
  const open = (type: string): Promise<SpdyStream> =>
    session.openStream(new Map([["streamtype", type]]));
  const openIf = (wanted: boolean, type: string): Promise<SpdyStream | undefined> =>
    wanted ? open(type) : Promise.resolve(undefined);
  try {
    // In the order of kubectl: servers count on the error stream to be the first.
    const error = await open("error");
    const stdin = await openIf(options.stdin, "stdin");
    const stdout = await openIf(options.stdout, "stdout");
    const stderr = await openIf(options.stderr && !options.terminal, "stderr");
    const resize = await openIf(options.terminal, "resize");
    stdin?.resume();
    error.end();
    const end = endOf(error, protocol === "v4.channel.k8s.io" || protocol === "v5.channel.k8s.io");
    end.catch(() => undefined); // who reads outputs first is not late
    return {
      stdin,
      stdout,
      stderr,
      resize: (size) => {
        if (resize?.writable === true) resize.write(formatSize(size));
      },
      end,
      close: () => session.destroy(),
    };
  } catch (cause) {
    session.destroy();
    throw cause;
  }
}

async function openByWebSocket(url: string, options: RemoteCommandOptions): Promise<RemoteCommand> {
  const { transport, protocol } = await dialWebSocket(
    url,
    ["v5.channel.k8s.io", "v4.channel.k8s.io"],
    options.signal,
  );
  const spoken = channelProtocols.get(protocol);
  if (spoken === undefined) {
    transport.destroy();
    throw new RuntimeError("unimplemented", `connect to "${url}": the server speaks "${protocol}"`);
  }
  const channels = new Channels(transport, "client", spoken);
  options.signal?.addEventListener("abort", () => channels.connection.destroy(), { once: true });
  const openIf = (wanted: boolean, channel: number): MuxStream | undefined =>
    wanted ? channels.open(channel) : undefined;
  const stdin = openIf(options.stdin, commandChannel.stdin);
  const resize = openIf(options.terminal, commandChannel.resize);
  stdin?.resume();
  const end = endOf(channels.open(commandChannel.error), spoken.status);
  end.catch(() => undefined);
  return {
    stdin,
    stdout: openIf(options.stdout, commandChannel.stdout),
    stderr: openIf(options.stderr && !options.terminal, commandChannel.stderr),
    resize: (size) => {
      if (resize?.writable === true) resize.write(formatSize(size));
    },
    end,
    close: () => channels.connection.destroy(),
  };
}

/** Reads how the command ended: a status from v4 on, a sentence about a failure before. */
export async function endOf(stream: Readable, isStatus: boolean): Promise<CommandEnd> {
  const said = await text(stream);
  if (!isStatus) return said === "" ? { exitCode: 0 } : { failure: said };
  if (said === "") {
    throw new RuntimeError("unavailable", "run command: the server closed without telling its end");
  }
  return parseStatus(said);
}
