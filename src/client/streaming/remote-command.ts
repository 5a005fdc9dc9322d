// The client's side of exec and attach with any CRI server. Start at openRemoteCommand.
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

/** Options of the connection. The streams must be those of the request for the address. */
export interface RemoteCommandOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** With a terminal there is no stderr. */
  readonly terminal: boolean;
  /** SPDY if not given, which every CRI server supports. */
  readonly transport?: "spdy" | "websocket";
  /** Cancels connecting, and later closes the connection. */
  readonly signal?: AbortSignal;
}

/** A remote command. Its outputs must be read, or it stops. */
export interface RemoteCommand {
  /** Ending it ends the input of the command. */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Sets the size of the terminal; no effect without a terminal. */
  resize(size: Size): void;
  /**
   * How the command ended; the end of an attach has exit code 0. Rejects with `unavailable` when the
   * connection is lost first. Outputs may still have unread data.
   */
  readonly end: Promise<CommandEnd>;
  /** Disconnects. This ends the command of an exec, but not the container of an attach. */
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
    // In the order of kubectl: servers require the error stream to be the first.
    const error = await open("error");
    const stdin = await openIf(options.stdin, "stdin");
    const stdout = await openIf(options.stdout, "stdout");
    const stderr = await openIf(options.stderr && !options.terminal, "stderr");
    const resize = await openIf(options.terminal, "resize");
    stdin?.resume();
    error.end();
    const end = endOf(error, protocol === "v4.channel.k8s.io" || protocol === "v5.channel.k8s.io");
    end.catch(() => undefined); // the caller may read the outputs first
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

/** Reads how the command ended: a status since v4, before that the message of a failure. */
export async function endOf(stream: Readable, isStatus: boolean): Promise<CommandEnd> {
  const message = await text(stream);
  if (!isStatus) return message === "" ? { exitCode: 0 } : { failure: message };
  if (message === "") {
    throw new RuntimeError(
      "unavailable",
      "run command: the server closed the connection before the end of the command",
    );
  }
  return parseStatus(message);
}
