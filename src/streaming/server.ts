// The server that clients of kubelet and crictl connect to for exec, attach and port-forward. An RPC
// returns an address with a token, a connection to it is upgraded to SPDY or WebSocket, and its
// streams are passed to the StreamTargets. Start at StreamingServer.
import { readFile } from "node:fs/promises";
import type { IncomingMessage, Server } from "node:http";
import { isIPv6, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { kindOf, messageOf, RuntimeError, wrap } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type Clock, maxTimerMs } from "../base/time.ts";
import { within } from "../base/wait.ts";
import type {
  AttachRequest,
  ExecRequest,
  OfSandbox,
  StreamChoice,
  StreamTargets,
} from "../core/streaming/index.ts";
import { makeCertificate } from "./certificate.ts";
import type { RunCommand } from "./command.ts";
import type { ForwardOptions } from "./port-forward.ts";
import { PendingConnections } from "../wire/pending-connections.ts";
import { Sessions, type Verb } from "./sessions.ts";
import { Tokens } from "./tokens.ts";
import { refuseUpgrade, type Upgrade, upgradeTo } from "./upgrade.ts";

/**
 * Where and how a StreamingServer serves: the section `streaming` of the configuration. The timeouts are read for each
 * connection.
 */
export interface StreamingSettings {
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
  readonly tlsCertFile: string;
  readonly tlsKeyFile: string;
  readonly idleTimeoutSeconds: number;
  readonly creationTimeoutSeconds: number;
}

/** Options of a StreamingServer. */
export interface StreamingServerOptions {
  readonly config: StreamingSettings;
  readonly targets: StreamTargets;
  readonly log: Logger;
  readonly clock: Clock;
  /** A client that does not send its token in this time is disconnected; 10 s. */
  readonly tokenTimeoutMs?: number;
}

/** The request that a token belongs to. */
type StreamRequest =
  | {
      readonly verb: "exec";
      readonly request: ExecRequest & OfSandbox;
      readonly choice: StreamChoice;
    }
  | {
      readonly verb: "attach";
      readonly request: AttachRequest & OfSandbox;
      readonly choice: StreamChoice;
    }
  | { readonly verb: "portforward"; readonly sandboxId: string; readonly ports: readonly number[] };

/** Connections without a token yet, which any client can make. More than the kernel queues for accept(2). */
const maxPending = 1024;
const defaultTokenTimeoutMs = 10_000;
/** Of a request: an API server passes on those of its client, with its credentials. */
const maxHeaderBytes = 16 * 1024;
const maxHeaders = 100;
/** How long commands may take to end after their connections are closed. */
const closeTimeoutMs = 5_000;

/** Creates addresses and serves connections to them. */
export class StreamingServer implements AsyncDisposable {
  readonly #options: StreamingServerOptions;
  readonly #server: Server;
  readonly #tokens: Tokens<StreamRequest>;
  readonly #sockets = new Map<string, Socket>();
  readonly #pending: PendingConnections<Socket>;
  readonly #serving = new Set<Promise<void>>();
  readonly #sessions = new Sessions();
  #base = "";

  /** Starts to listen. Throws when it cannot listen on the address or cannot read a certificate. */
  static async open(options: StreamingServerOptions): Promise<StreamingServer> {
    const { config, clock } = options;
    const limits = { maxHeaderSize: maxHeaderBytes };
    // NOTE(node): by default, a TLS handshake may take 2 minutes.
    const handshakeTimeout = options.tokenTimeoutMs ?? defaultTokenTimeoutMs;
    // Loaded with the first server, which most starts do not need.
    const server = config.tls
      ? process
          .getBuiltinModule("node:https")
          .createServer({ ...limits, handshakeTimeout, ...(await certificateOf(config, clock)) })
      : process.getBuiltinModule("node:http").createServer(limits);
    server.maxHeadersCount = maxHeaders;
    const streaming = new StreamingServer(options, server);
    await streaming.#listen();
    return streaming;
  }

  private constructor(options: StreamingServerOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.#tokens = new Tokens(options.clock);
    this.#pending = new PendingConnections({
      maxCount: maxPending,
      timeoutMs: options.tokenTimeoutMs ?? defaultTokenTimeoutMs,
      log: options.log,
      what: "connections to the streaming server without a token",
    });
    server.on("connection", (socket: Socket) => this.#connected(socket));
    // NOTE(node): with TLS, the socket below does not see the traffic.
    server.on(options.config.tls ? "secureConnection" : "connection", (socket: Socket) => {
      const idleMs = Math.min(options.config.idleTimeoutSeconds * 1000, maxTimerMs);
      // This also ends the streams of an upgraded connection.
      socket.setTimeout(idleMs, () => socket.destroy());
    });
    server.on("upgrade", (request: IncomingMessage, transport: Duplex, head: Buffer) => {
      if (head.length > 0) transport.unshift(head);
      this.#upgraded({ request, transport });
    });
    server.on("request", (request, response) => {
      const known = this.#take(request) !== undefined;
      response.writeHead(known ? 400 : 404, { "content-type": "text/plain", connection: "close" });
      response.end(known ? "an upgrade to SPDY/3.1 or WebSocket is required\n" : "not found\n");
    });
  }

  /** The base address, such as `http://127.0.0.1:34567`. */
  get address(): string {
    return this.#base;
  }

  /** The number of connections with a token, by the verb of its request. */
  get sessions(): Readonly<Record<Verb, number>> {
    return this.#sessions.counts;
  }

  /** A URL that is valid for one minute and can be used once; `resource-exhausted` when too many are unused. */
  exec(request: ExecRequest & OfSandbox, choice: StreamChoice): string {
    return this.#url({ verb: "exec", request, choice });
  }

  attach(request: AttachRequest & OfSandbox, choice: StreamChoice): string {
    return this.#url({ verb: "attach", request, choice });
  }

  portForward(sandboxId: string, ports: readonly number[]): string {
    return this.#url({ verb: "portforward", sandboxId, ports });
  }

  /** Closes all connections, which ends their streams, and waits for that; 5 s at most. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets.values()) socket.destroy();
    await closed;
    await within(Promise.all(this.#serving), closeTimeoutMs);
  }

  #url(streamRequest: StreamRequest): string {
    return `${this.#base}/${streamRequest.verb}/${this.#tokens.add(streamRequest)}`;
  }

  async #listen(): Promise<void> {
    const { address, port, tls } = this.#options.config;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (cause) => {
        reject(wrap(`listen for streams on "${address}" port ${port}`, cause));
      });
      this.#server.listen(port, address, () => resolve());
    });
    // NOTE(node): a later failure, such as an accept without a free descriptor, must not end the daemon.
    this.#server.on("error", (error) => {
      this.#options.log.warn("failed to accept a connection for streams", {
        reason: messageOf(error),
      });
    });
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") {
      throw new RuntimeError("internal", "listen for streams: the socket has no port");
    }
    const host = reachable(address);
    this.#base = `${tls ? "https" : "http"}://${isIPv6(host) ? `[${host}]` : host}:${bound.port}`;
  }

  #connected(socket: Socket): void {
    const key = keyOf(socket);
    this.#sockets.set(key, socket);
    this.#pending.add(socket);
    socket.on("close", () => {
      this.#pending.remove(socket);
      if (this.#sockets.get(key) === socket) this.#sockets.delete(key);
    });
  }

  /** The stream request of a token. A token is valid once, and only for its verb. */
  #take(request: IncomingMessage): StreamRequest | undefined {
    const path = (request.url ?? "").split("?")[0] ?? "";
    const [, verb = "", token = ""] = /^\/(exec|attach|portforward)\/([\w-]+)$/.exec(path) ?? [];
    if (request.method !== "GET" && request.method !== "POST") return undefined;
    const streamRequest = this.#tokens.take(token);
    return streamRequest?.verb === (verb as Verb) ? streamRequest : undefined;
  }

  #upgraded(upgrade: Upgrade): void {
    // NOTE(node): an "error" without a listener would end the daemon.
    upgrade.transport.on("error", () => undefined);
    const streamRequest = this.#take(upgrade.request);
    if (streamRequest === undefined) {
      refuseUpgrade(upgrade, 404, "not found");
      return;
    }
    const sandboxId = sandboxOf(streamRequest);
    const refusal = this.#sessions.refusal(sandboxId);
    if (refusal !== undefined) {
      refuseUpgrade(upgrade, 503, refusal);
      return;
    }
    const socket = this.#sockets.get(keyOf(upgrade.request.socket));
    if (socket !== undefined) this.#pending.remove(socket);
    const end = this.#sessions.begin(streamRequest.verb, sandboxId);
    const serving = this.#serve(upgrade, streamRequest).catch((error: unknown) => {
      const { log } = this.#options;
      log.debug("stream ended", {
        verb: streamRequest.verb,
        kind: kindOf(error),
        reason: messageOf(error),
      });
      upgrade.transport.destroy();
    });
    this.#serving.add(serving);
    void serving.then(() => {
      this.#serving.delete(serving);
      end();
    });
  }

  /** The protocols are loaded with the first connection, so that the daemon starts faster. */
  async #serve(upgrade: Upgrade, streamRequest: StreamRequest): Promise<void> {
    const to = upgradeTo(upgrade.request);
    if (to === undefined) {
      refuseUpgrade(upgrade, 400, "an upgrade to SPDY/3.1 or WebSocket is required");
      return;
    }
    const creationTimeoutMs = this.#options.config.creationTimeoutSeconds * 1000;
    if (streamRequest.verb === "portforward") {
      const { sandboxId, ports } = streamRequest;
      const connect: ForwardOptions["connect"] = (port, signal) =>
        this.#options.targets.connect(sandboxId, port, signal);
      const { serveSpdyForward, serveWebSocketForward } = await import("./port-forward.ts");
      const serve = to === "spdy" ? serveSpdyForward : serveWebSocketForward;
      await serve(upgrade, { ports, connect, creationTimeoutMs });
      return;
    }
    const { serveSpdyCommand, serveWebSocketCommand } = await import("./command.ts");
    const options = {
      choice: streamRequest.choice,
      creationTimeoutMs,
      run: this.#run(streamRequest),
      // An attach is answered when its client gets the output.
      tellsStart: streamRequest.verb === "attach",
    };
    await (to === "spdy" ? serveSpdyCommand : serveWebSocketCommand)(upgrade, options);
  }

  #run(streamRequest: StreamRequest & { verb: "exec" | "attach" }): RunCommand {
    const { targets } = this.#options;
    if (streamRequest.verb === "exec") {
      return (streams, signal) => targets.exec(streamRequest.request, streams, signal);
    }
    return async (streams, signal) => {
      await targets.attach(streamRequest.request, streams, signal);
      return { exitCode: 0 };
    };
  }
}

function sandboxOf(streamRequest: StreamRequest): string {
  return streamRequest.verb === "portforward"
    ? streamRequest.sandboxId
    : streamRequest.request.sandboxId;
}

/** NOTE(node): a TLS socket does not expose the socket below it, but it has the same addresses. */
function keyOf({ localAddress, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${remoteAddress} ${remotePort}`;
}

/** A server on all addresses is reached at the loopback address. */
function reachable(address: string): string {
  if (address === "0.0.0.0") return "127.0.0.1";
  return isIPv6(address) && /^[0:]+$/.test(address) ? "::1" : address;
}

async function certificateOf(
  { address, tlsCertFile, tlsKeyFile }: StreamingSettings,
  clock: Clock,
): Promise<{ cert: string; key: string }> {
  if (tlsCertFile === "") return makeCertificate(reachable(address), clock.nowMs());
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(path, "utf8");
    } catch (cause) {
      throw wrap(`read "${path}" for streaming over TLS`, cause);
    }
  };
  return { cert: await read(tlsCertFile), key: await read(tlsKeyFile) };
}
