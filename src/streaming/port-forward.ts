// Port-forward. Over SPDY, also inside of a WebSocket, each forwarded connection is a pair of streams
// that the client opens: one for data, one on which it is told why there is none. Over WebSocket
// channels the ports are chosen beforehand and each is connected to once.
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

/** What a forwarding connection is served with. */
export interface ForwardOptions {
  /** Those that the RPC named. */
  readonly ports: readonly number[];
  readonly connect: (port: number, signal: AbortSignal) => Promise<Duplex>;
  /** How long the second stream of a pair may take. */
  readonly creationTimeoutMs: number;
}

const spdyProtocol = "portforward.k8s.io";
const tunnelProtocol = "SPDY/3.1+portforward.k8s.io";
const channelNames = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] as const;
/** How long a connection in the pod may go on taking what its client sent before it left. */
const leftMs = 10_000;
/** A channel is a byte, and a port takes two of them; 255 is a signal elsewhere. */
const maxChannelPorts = 127;

/** Serves `Upgrade: SPDY/3.1`. Resolves when the client has left. */
export async function serveSpdyForward(upgrade: Upgrade, options: ForwardOptions): Promise<void> {
  const wanted = headerWords(upgrade.request, "x-stream-protocol-version");
  const protocol = chooseProtocol(wanted, [spdyProtocol], spdyProtocol);
  if (protocol === undefined) {
    const accepted = [`X-Accepted-Stream-Protocol-Versions: ${spdyProtocol}`];
    refuseUpgrade(upgrade, 403, `none of the protocols ${wanted.join(", ")} is served`, accepted);
    return;
  }
  const chosen = wanted.length === 0 ? [] : [`X-Stream-Protocol-Version: ${protocol}`];
  switchProtocols(upgrade, ["Upgrade: SPDY/3.1", ...chosen]);
  await forwardPairs(upgrade.transport, options);
}

/** Serves `Upgrade: websocket`. Resolves when the client has left, or all of its ports are done. */
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

/** Ports of the query, several with commas or one by one; undefined when one of them is none. */
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
        // A client that resets what it opens must not leave one here each time.
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

/** The client has left: a pod that takes nothing of what came before must not hold its connection. */
function endSoon(targets: ReadonlySet<Duplex>): void {
  for (const target of targets) {
    const timer = setTimeout(() => target.destroy(), leftMs).unref();
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

/** NOTE(kubernetes): clients before 1.3 name no request; their streams come as error, then data. */
function requestId(stream: SpdyStream, type: "data" | "error"): string {
  const named = stream.headers.get("requestid") ?? "";
  if (named !== "") return named;
  return `stream ${type === "error" ? stream.id : stream.id - 2}`;
}

interface Forwarded {
  readonly data: Duplex;
  readonly error: Duplex;
  readonly port: number;
  /** The connections in the pod that are open. */
  readonly targets: Set<Duplex>;
  readonly carry: (client: Duplex, target: Duplex) => Promise<void>;
}

/** Carries one connection. Never throws: what goes wrong is this connection's end alone. */
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
    // Ended, not reset: the client is to read the message, and closes then.
    data.resume();
    await endAndFlush(data);
  }
}

/**
 * Joins two connections until both directions have ended, each for itself. When one breaks, both are
 * cut off; that is no error: the client sees it as the peer in the pod would have shown it.
 */
async function splice(client: Duplex, target: Duplex): Promise<void> {
  target.on("error", () => undefined);
  if (client.destroyed) target.destroy();
  target.on("data", markTransferable);
  await Promise.allSettled([pipeline(client, target), pipeline(target, client)]);
  target.destroy();
  if (!client.writableFinished || !client.readableEnded) client.destroy();
}

/** Channels have no end of their own, so the connection in the pod decides when there is no more. */
async function spliceUntilTargetEnds(client: Duplex, target: Duplex): Promise<void> {
  target.on("error", () => undefined);
  if (client.destroyed) target.destroy();
  target.on("data", markTransferable);
  client.pipe(target);
  await pipeline(target, client).catch(() => undefined);
  target.destroy();
  // What the client still sends to this port would hold back what it sends to the others.
  client.unpipe(target).resume();
}

/** Each port's data and error channel begin with its number; then its connection is carried. */
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
