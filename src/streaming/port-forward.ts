// Port-forward. Over SPDY, also in a WebSocket, each forwarded connection is a pair of streams
// that the client opens: one for data, and one for an error. Over WebSocket
// channels the ports are fixed, and each is connected once.
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { messageOf } from "../base/errors.ts";
import { markTransferable } from "../base/transferable.ts";
import { channelProtocols, Channels } from "../wire/remote-command/channels.ts";
import { endAndFlush } from "../wire/remote-command/peer.ts";
import { SpdySession } from "../wire/spdy/session.ts";
import type { SpdyStream } from "../wire/spdy/stream.ts";
import { openTunnel } from "../wire/websocket/tunnel.ts";
import {
  chooseProtocol,
  headerWords,
  refuseUpgrade,
  switchProtocols,
  type Upgrade,
} from "./upgrade.ts";
import { acceptWebSocket } from "./websocket.ts";

/** Options of a port-forward connection. */
export interface ForwardOptions {
  /** The ports of the RPC. */
  readonly ports: readonly number[];
  readonly connect: (port: number, signal: AbortSignal) => Promise<Duplex>;
  /** How long the client may take to open the second stream of a pair. */
  readonly creationTimeoutMs: number;
}

const spdyProtocol = "portforward.k8s.io";
const tunnelProtocol = "SPDY/3.1+portforward.k8s.io";
const channelNames = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] as const;
/** How long a connection in the pod may take to read the remaining data of a client that has disconnected. */
const drainMs = 10_000;
/** A channel number is a byte, a port needs two channels, and 255 is reserved. */
const maxChannelPorts = 127;

/** Serves `Upgrade: SPDY/3.1`. Resolves when the client has disconnected. */
export async function serveSpdyForward(upgrade: Upgrade, options: ForwardOptions): Promise<void> {
  const wanted = headerWords(upgrade.request, "x-stream-protocol-version");
  const protocol = chooseProtocol(wanted, [spdyProtocol], spdyProtocol);
  if (protocol === undefined) {
    const accepted = [`X-Accepted-Stream-Protocol-Versions: ${spdyProtocol}`];
    refuseUpgrade(upgrade, 403, `unsupported protocols ${wanted.join(", ")}`, accepted);
    return;
  }
  const chosen = wanted.length === 0 ? [] : [`X-Stream-Protocol-Version: ${protocol}`];
  switchProtocols(upgrade, ["Upgrade: SPDY/3.1", ...chosen]);
  await forwardPairs(upgrade.transport, options);
}

/** Serves `Upgrade: websocket`. Resolves when the client has disconnected, or all connections have ended. */
export async function serveWebSocketForward(
  upgrade: Upgrade,
  options: ForwardOptions,
): Promise<void> {
  const tunnel = headerWords(upgrade.request, "sec-websocket-protocol").includes(tunnelProtocol);
  const ports = options.ports.length > 0 ? options.ports : portsOf(upgrade);
  if (!tunnel && (ports === undefined || ports.length === 0 || ports.length > maxChannelPorts)) {
    refuseUpgrade(
      upgrade,
      400,
      `from 1 to ${maxChannelPorts} ports are required: ?port=80&port=443`,
    );
    return;
  }
  const protocol = acceptWebSocket(upgrade, [tunnelProtocol, ...channelNames], channelNames[0]);
  if (protocol === tunnelProtocol) {
    await forwardPairs(openTunnel(upgrade.transport, "server"), options);
  } else if (protocol !== undefined) {
    await forwardChannels(upgrade.transport, protocol, { ...options, ports: ports ?? [] });
  }
}

/** Ports of the query, as a list with commas or as repeated parameters; undefined when one is invalid. */
function portsOf(upgrade: Upgrade): readonly number[] | undefined {
  const { searchParams } = new URL(upgrade.request.url ?? "", "http://localhost");
  const words = searchParams.getAll("port").flatMap((list) => list.split(","));
  const ports = words.map(parsePort);
  return ports.every((port) => port !== undefined) ? ports : undefined;
}

function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : undefined;
}

interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  timer?: NodeJS.Timeout;
}

async function forwardPairs(transport: Duplex, options: ForwardOptions): Promise<void> {
  const pairs = new Map<string, Pair>();
  const targets = new Set<Duplex>();
  const session = new SpdySession({
    transport,
    role: "server",
    onStream: (stream) => {
      const type = stream.headers.get("streamtype");
      const port = parsePort(stream.headers.get("port") ?? "");
      if ((type !== "data" && type !== "error") || port === undefined) {
        stream.destroy();
        return;
      }
      const id = requestId(stream, type);
      const pair = pairs.get(id) ?? waitForOther(pairs, id, options.creationTimeoutMs);
      if (pair[type] !== undefined) {
        stream.destroy();
        return;
      }
      pair[type] = stream;
      const { data, error } = pair;
      if (data === undefined || error === undefined) {
        // A stream that the client resets must not stay here.
        stream.once("close", () => {
          if (pairs.get(id) !== pair) return;
          clearTimeout(pair.timer);
          pairs.delete(id);
        });
        return;
      }
      clearTimeout(pair.timer);
      pairs.delete(id);
      void forwardOne({ data, error, port, targets, carry: splice }, options);
    },
  });
  await session.closed;
  for (const { timer } of pairs.values()) clearTimeout(timer);
  endSoon(targets);
}

/** Closes connections of a disconnected client, also if the pod does not read the remaining data. */
function endSoon(targets: ReadonlySet<Duplex>): void {
  for (const target of targets) {
    const timer = setTimeout(() => target.destroy(), drainMs).unref();
    target.once("close", () => clearTimeout(timer));
  }
}

function waitForOther(pairs: Map<string, Pair>, id: string, timeoutMs: number): Pair {
  const pair: Pair = {};
  pair.timer = setTimeout(() => {
    pairs.delete(id);
    pair.error?.end("forward port: the stream for data was not opened in time");
    pair.data?.destroy();
  }, timeoutMs);
  pairs.set(id, pair);
  return pair;
}

/** NOTE(kubernetes): clients before 1.3 send no request id; they open the error stream, then the data stream. */
function requestId(stream: SpdyStream, type: "data" | "error"): string {
  const named = stream.headers.get("requestid") ?? "";
  if (named !== "") return named;
  return `stream ${type === "error" ? stream.id : stream.id - 2}`;
}

interface Forwarded {
  readonly data: Duplex;
  readonly error: Duplex;
  readonly port: number;
  /** The open connections in the pod. */
  readonly targets: Set<Duplex>;
  readonly carry: (client: Duplex, target: Duplex) => Promise<void>;
}

/** Forwards one connection. Never throws: a failure ends only this connection. */
async function forwardOne(forwarded: Forwarded, options: ForwardOptions): Promise<void> {
  const { data, error, port, targets, carry } = forwarded;
  error.resume();
  const gone = new AbortController();
  data.once("close", () => gone.abort());
  try {
    const target = await options.connect(port, gone.signal);
    targets.add(target);
    target.once("close", () => targets.delete(target));
    await carry(data, target);
    await endAndFlush(error);
  } catch (reason) {
    await endAndFlush(error, messageOf(reason));
    // Ended, not reset, so that the client reads the message; then it closes.
    data.resume();
    await endAndFlush(data);
  }
}

/**
 * Joins two connections until both directions have ended separately. When one breaks, both are
 * closed. This is not an error: the client sees what a direct connection to the pod would show.
 */
async function splice(client: Duplex, target: Duplex): Promise<void> {
  target.on("error", () => undefined);
  if (client.destroyed) target.destroy();
  target.on("data", markTransferable);
  await Promise.allSettled([pipeline(client, target), pipeline(target, client)]);
  target.destroy();
  if (!client.writableFinished || !client.readableEnded) client.destroy();
}

/** Channels cannot be ended, so the forwarding ends with the connection in the pod. */
async function spliceUntilTargetEnds(client: Duplex, target: Duplex): Promise<void> {
  target.on("error", () => undefined);
  if (client.destroyed) target.destroy();
  target.on("data", markTransferable);
  client.pipe(target);
  await pipeline(target, client).catch(() => undefined);
  target.destroy();
  // Unread data for this port would block the data for other ports.
  client.unpipe(target).resume();
}

/** Sends the port number on both channels of each port, then forwards its connection. */
async function forwardChannels(
  transport: Duplex,
  name: string,
  options: ForwardOptions,
): Promise<void> {
  const protocol = channelProtocols.get(name) ?? {
    base64: false,
    closeSignal: false,
    status: true,
  };
  const channels = new Channels(transport, "server", protocol);
  const targets = new Set<Duplex>();
  const forwarded = options.ports.map(async (port, index) => {
    const data = channels.open(2 * index);
    const error = channels.open(2 * index + 1);
    const head = Buffer.alloc(2);
    head.writeUInt16LE(port);
    data.write(head);
    error.write(head);
    await forwardOne({ data, error, port, targets, carry: spliceUntilTargetEnds }, options);
  });
  await Promise.race([Promise.all(forwarded), channels.connection.closed]);
  endSoon(targets);
  channels.connection.close();
}
