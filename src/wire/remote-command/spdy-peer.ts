// The server's side of remote commands over SPDY: each stream of a command is a SPDY stream that
// the client opens; its header `streamtype` names it.
import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { SpdySession } from "../spdy/session.ts";
import type { SpdyStream } from "../spdy/stream.ts";
import { type CommandChoice, type CommandPeer, endAndFlush, noSizes } from "./peer.ts";
import { readSizes } from "./sizes.ts";
import { type CommandEnd, formatEnd, formatStatus } from "./status.ts";

/** Protocols in `X-Stream-Protocol-Version`. The first of the client's protocols that is listed here is used. */
export const spdyCommandProtocols = [
  "v5.channel.k8s.io",
  "v4.channel.k8s.io",
  "v3.channel.k8s.io",
  "v2.channel.k8s.io",
  "channel.k8s.io",
] as const;

/** A protocol. A client that names none uses the oldest one, `channel.k8s.io`. */
export type SpdyCommandProtocol = (typeof spdyCommandProtocols)[number];

const streamTypes = ["error", "stdin", "stdout", "stderr", "resize"] as const;
type StreamType = (typeof streamTypes)[number];

/** Options of acceptSpdyCommand(). */
export interface SpdyCommandOptions {
  readonly transport: Duplex;
  readonly protocol: SpdyCommandProtocol;
  readonly choice: CommandChoice;
  /** How long the client may take to open its streams. */
  readonly creationTimeoutMs: number;
  /** The client is told that the last of its streams is open when this settles; at once where it is undefined. */
  readonly connected?: Promise<unknown> | undefined;
}

/**
 * Waits for the streams that the client requested. Throws `deadline-exceeded` when it does not open all of them
 * in time, and `unavailable` when it disconnects; then the connection is closed.
 */
export async function acceptSpdyCommand(options: SpdyCommandOptions): Promise<CommandPeer> {
  const streams = new Map<StreamType, SpdyStream>();
  const expected = expectedStreams(options);
  const { promise: complete, resolve, reject } = Promise.withResolvers<undefined>();
  const session = new SpdySession({
    transport: options.transport,
    role: "server",
    maxStreams: streamTypes.length,
    holdReply: (headers) => {
      const opened = [...streams.keys(), headers.get("streamtype")];
      const isLast = [...expected].every((name) => opened.includes(name));
      return isLast ? options.connected : undefined;
    },
    onStream: (stream) => {
      const type = streamTypes.find((name) => name === stream.headers.get("streamtype"));
      if (type === undefined || streams.has(type)) return void stream.destroy();
      streams.set(type, stream);
      // The others are only written to. Data that a client sends on them is dropped.
      if (type !== "stdin" && type !== "resize") stream.resume();
      if ([...expected].every((name) => streams.has(name))) resolve(undefined);
    },
  });
  const gone = new AbortController();
  void session.closed.then((reason) => {
    const disconnected = new RuntimeError("unavailable", "serve command: the client disconnected", {
      cause: reason,
    });
    gone.abort(disconnected);
    reject(disconnected);
  });
  const timer = setTimeout(() => {
    const missing = [...expected].filter((name) => !streams.has(name)).join(", ");
    const why = `serve command: the client opened no stream for ${missing}`;
    reject(new RuntimeError("deadline-exceeded", why));
    session.destroy();
  }, options.creationTimeoutMs);
  try {
    await complete;
  } finally {
    clearTimeout(timer);
  }
  return peerOf(options, { session, streams, signal: gone.signal });
}

interface Accepted {
  readonly session: SpdySession;
  readonly streams: ReadonlyMap<StreamType, SpdyStream>;
  readonly signal: AbortSignal;
}

function peerOf({ choice, protocol }: SpdyCommandOptions, accepted: Accepted): CommandPeer {
  const { session, streams, signal } = accepted;
  const chosen = (type: "stdin" | "stdout" | "stderr"): SpdyStream | undefined => {
    const stream = streams.get(type);
    if (choice[type]) return stream;
    // The client opened it without requesting it: it stays empty.
    stream?.resume();
    stream?.end();
    return undefined;
  };
  const stdin = chosen("stdin");
  const stdout = chosen("stdout");
  const stderr = choice.terminal ? undefined : chosen("stderr");
  const resize = streams.get("resize");
  if (!choice.terminal) resize?.resume();
  const hasStatus = protocol === "v4.channel.k8s.io" || protocol === "v5.channel.k8s.io";
  const format = hasStatus ? formatStatus : formatEnd;
  return {
    streams: {
      stdin,
      stdout,
      stderr,
      sizes: choice.terminal && resize !== undefined ? readSizes(resize) : noSizes(),
    },
    signal,
    finish: async (end: CommandEnd): Promise<void> => {
      await Promise.all([endAndFlush(stdout), endAndFlush(stderr)]);
      // NOTE(kubectl): for kubectl, the end of stdin's other direction is the end of the command.
      stdin?.end();
      resize?.end();
      await endAndFlush(streams.get("error"), format(end));
      session.end();
    },
  };
}

/** The streams that Kubernetes clients open: `resize` with a terminal, since v3. */
function expectedStreams({ choice, protocol }: SpdyCommandOptions): ReadonlySet<StreamType> {
  const expected = new Set<StreamType>(["error"]);
  if (choice.stdin) expected.add("stdin");
  if (choice.stdout) expected.add("stdout");
  if (choice.stderr && !choice.terminal) expected.add("stderr");
  const old = protocol === "channel.k8s.io" || protocol === "v2.channel.k8s.io";
  if (choice.terminal && !old) expected.add("resize");
  return expected;
}
