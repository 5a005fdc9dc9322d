// A gRPC server on node:http2 that knows nothing of protobuf: bytes in, bytes out. One GrpcServer
// serves one unix socket; server-call.ts is the life of a single call, codec.ts the wire format.
//
// NOTE(grpc): node:http2 resets a request whose `:authority` is empty or a bare path, as grpc-go
// before 1.57 sent for unix targets, before this code sees it. `localhost` and percent-encoded paths
// are taken; kubelet and crictl send the former.
import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { UnprovenConnections } from "../unproven-connections.ts";
import { listenUnix, type UnixListener, type UnixListenOptions } from "../unix-socket.ts";
import type { Call, CallEnd, Method } from "./call.ts";
import { parseTimeout } from "./codec.ts";
import { type CallHost, respondTrailersOnly, ServerCall } from "./server-call.ts";
import { type GrpcStatus, grpcCodeOfKind } from "./status.ts";
import { CallScheduler } from "./call-scheduler.ts";

/** What a GrpcServer is made of. */
export interface GrpcServerOptions {
  /**
   * Milliseconds for which calls may begin in one turn of the event loop before it serves its other
   * events; one call takes 0.1 to 1 ms. Undefined begins every call at once.
   */
  readonly callBudgetMs?: number | undefined;
  /** By path, as `/runtime.v1.RuntimeService/Version`. */
  readonly methods: ReadonlyMap<string, Method>;
  /** Largest message in either direction; the other side of CRI has 16 MiB. */
  readonly maxMessageBytes: number;
  /** The status of whatever a handler threw. */
  readonly toStatus: (error: unknown) => GrpcStatus;
  readonly logger: Logger;
  /** Told of each call to a known method as it comes in; what it returns is told of its end. */
  readonly onCall?: (call: Call) => ((end: CallEnd) => void) | undefined;
  /** A client that has not finished its HTTP/2 greeting after this long is cut off; 10 s. */
  readonly greetingTimeoutMs?: number;
}

const mebibyte = 1024 * 1024;

/** Window of a whole connection; the streams share it. */
const connectionWindowBytes = 4 * mebibyte;

/** The limits of a connection: generous for a kubelet, small enough for a client gone wild. */
const http2Limits = {
  settings: {
    // Calls at once on a connection. A kubelet has one connection for everything.
    maxConcurrentStreams: 1024,
    // Bytes of request headers. gRPC sends about 200; beyond this the call is reset.
    maxHeaderListSize: 16 * 1024,
    // Bytes a client may send ahead on one call: a large request needs few round trips.
    initialWindowSize: mebibyte,
    enablePush: false,
  },
  // Number of request headers; gRPC sends about 10.
  maxHeaderListPairs: 64,
  // MiB that Node holds for a connection, unsent answers among them. Beyond it new calls are
  // refused, so it must leave room for some of the largest answers while a reader is slow.
  maxSessionMemory: 128,
  // Frames that break the protocol, before the connection is closed. A sane client sends none.
  maxSessionInvalidFrames: 100,
  // Calls refused by the limits above, before the connection is closed.
  maxSessionRejectedStreams: 100,
  // Calls a client may reset: so many at once, and then so many a second (rapid reset,
  // CVE-2023-44487); beyond, the connection is closed. A kubelet resets each call that it gives
  // up, so a node in trouble may see hundreds.
  streamResetBurst: 2000,
  streamResetRate: 200,
  // Settings in one SETTINGS frame. The protocol defines about 10. Floods of SETTINGS and PING
  // frames are bounded by nghttp2 itself: it closes a connection with 1000 unsent replies.
  maxSettings: 32,
};

/** Connections that speak HTTP/2, at once; each is a descriptor, and callers number a handful. */
const maxConnections = 512;

/** Connections that have not finished their greeting. More than the kernel queues for accept(2) at once. */
const maxUnproven = 1024;

/** Largest messages' worth of unfinished requests held at once, over all connections. */
const maxReceivingMessages = 8;

/** A gRPC server for unary and server-streaming methods, without a word of protobuf. */
export class GrpcServer {
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #services: ReadonlySet<string>;
  readonly #host: CallHost;
  readonly #logger: Logger;
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #unproven: UnprovenConnections<ServerHttp2Session>;
  /** Those that have finished their greeting. */
  readonly #greeted = new Set<ServerHttp2Session>();
  /** Those of them that have made no call yet, the oldest first. */
  readonly #callless = new Set<ServerHttp2Session>();
  readonly #sockets = new Set<Socket>();
  #listener: UnixListener | undefined;
  #calls = 0;
  #stopping: Promise<void> | undefined;

  constructor(options: GrpcServerOptions) {
    this.#methods = options.methods;
    this.#services = new Set([...options.methods.keys()].map(serviceOf));
    this.#logger = options.logger;
    this.#unproven = new UnprovenConnections({
      places: maxUnproven,
      timeoutMs: options.greetingTimeoutMs ?? 10_000,
      log: options.logger,
      what: "connections without an HTTP/2 greeting",
    });
    this.#host = {
      maxMessageBytes: options.maxMessageBytes,
      logger: options.logger,
      receiving: { bytes: 0, maxBytes: maxReceivingMessages * options.maxMessageBytes },
      turns: new CallScheduler(options.callBudgetMs ?? Number.POSITIVE_INFINITY),
      toStatus: options.toStatus,
      onCall: options.onCall,
    };
    this.#server = createServer(http2Limits);
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("session", (session) => this.#greet(session));
    this.#server.on("stream", (stream, headers) => this.#accept(stream, headers));
    // Garbage, floods and vanished peers end their own connection, nothing else.
    this.#server.on("sessionError", (error) => {
      this.#logger.debug("connection closed on an error", { error });
    });
    this.#server.on("error", (error) => this.#logger.error("cannot accept", { error }));
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sessions.size;
  }

  /**
   * Serves the unix socket at `path`; once only.
   *
   * @throws RuntimeError as `listenUnix()` does, when the path is taken or cannot be bound.
   */
  async listen(path: string, options: UnixListenOptions): Promise<void> {
    this.#listener = await listenUnix(this.#server, path, options);
  }

  /**
   * Takes no more connections and calls, lets running calls end for up to `graceMs`, then cuts them
   * off. Their handlers see an aborted signal.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    const drained = Promise.all([...this.#sessions].map(closedGracefully));
    const closed = this.#listener?.close();
    const timeout = Promise.withResolvers<undefined>();
    const timer = setTimeout(timeout.resolve, graceMs, undefined);
    await Promise.race([drained, timeout.promise]);
    clearTimeout(timer);
    for (const session of this.#sessions) session.destroy();
    // A session that was closed in good order waits for its peer even when it is destroyed, and a
    // peer that is stopped never comes: its socket has to go as well.
    for (const socket of this.#sockets) socket.destroy();
    await drained;
    await closed;
  }

  #greet(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.setLocalWindowSize(connectionWindowBytes);
    this.#unproven.add(session);
    session.once("remoteSettings", () => this.#admit(session));
    session.once("close", () => {
      this.#unproven.remove(session);
      this.#forget(session);
      this.#sessions.delete(session);
    });
    // A connection that was accepted while stop() was under way.
    if (this.#stopping !== undefined) session.close();
  }

  /** It speaks HTTP/2. When too many do, the oldest of those is closed that have never made a call. */
  #admit(session: ServerHttp2Session): void {
    if (!this.#unproven.remove(session)) return;
    this.#greeted.add(session);
    this.#callless.add(session);
    if (this.#greeted.size <= maxConnections) return;
    const [oldest = session] = this.#callless;
    this.#host.logger.warn(`more than ${maxConnections} connections: one is closed`, {
      closed:
        oldest === session ? "the new one, all others made calls" : "the oldest without a call",
    });
    this.#forget(oldest);
    oldest.destroy();
  }

  #forget(session: ServerHttp2Session): void {
    this.#greeted.delete(session);
    this.#callless.delete(session);
  }

  #accept(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // A reset with an error code comes as `error`, always followed by `close`, which is acted on.
    stream.on("error", ignore);
    if (stream.session !== undefined) this.#callless.delete(stream.session as ServerHttp2Session);
    const httpStatus = httpRefusal(headers);
    if (httpStatus !== undefined) {
      stream.respond({ ":status": httpStatus }, { endStream: true });
      stream.resume();
      stream.close();
      return;
    }
    const path = headers[":path"] ?? "";
    const method = this.#methods.get(path);
    if (method === undefined) {
      respondTrailersOnly(stream, this.#unimplemented(path));
      return;
    }
    const encoding = headers["grpc-encoding"];
    if (encoding !== undefined && encoding !== "identity") {
      const message = `call "${path}": message encoding "${String(encoding)}" is not supported`;
      respondTrailersOnly(
        stream,
        { code: grpcCodeOfKind.unimplemented, message },
        { "grpc-accept-encoding": "identity" },
      );
      return;
    }
    let timeoutMs: number | undefined;
    try {
      timeoutMs = timeoutOf(headers);
    } catch (error) {
      respondTrailersOnly(stream, this.#host.toStatus(error));
      return;
    }
    this.#calls += 1;
    new ServerCall(stream, { id: this.#calls, path, method, timeoutMs }, this.#host);
  }

  #unimplemented(path: string): GrpcStatus {
    const shown = path.slice(0, 256);
    const message = this.#services.has(serviceOf(path))
      ? `call "${shown}": the service has no such method`
      : `call "${shown}": no such service: there are ${[...this.#services].join(", ")}`;
    return { code: grpcCodeOfKind.unimplemented, message };
  }
}

function ignore(): void {
  // See where it is used.
}

function closedGracefully(session: ServerHttp2Session): Promise<void> {
  return new Promise((resolve) => {
    if (session.destroyed) resolve();
    else session.close(resolve);
  });
}

function serviceOf(path: string): string {
  return path.slice(1, Math.max(1, path.lastIndexOf("/")));
}

/** The HTTP status for a request that is not gRPC at all, as PROTOCOL-HTTP2.md asks. */
function httpRefusal(headers: IncomingHttpHeaders): number | undefined {
  if (headers[":method"] !== "POST") return 405;
  const type = headers["content-type"] ?? "";
  return /^application\/grpc(\+proto)?(;|$)/.test(type) ? undefined : 415;
}

function timeoutOf(headers: IncomingHttpHeaders): number | undefined {
  const header = headers["grpc-timeout"];
  if (header === undefined) return undefined;
  if (typeof header === "string") return parseTimeout(header);
  throw new RuntimeError("invalid-argument", "parse grpc-timeout: want it once, got it repeatedly");
}
