// A gRPC server on node:http2, independent of protobuf: messages are bytes. One GrpcServer
// serves one unix socket; server-call.ts handles a single call, codec.ts is the wire format.
//
// NOTE(grpc): node:http2 resets a request whose `:authority` is empty or a bare path, before this code sees it;
// grpc-go before 1.57 sent that for unix targets. `localhost` and percent-encoded paths
// are accepted; kubelet and crictl send the former.
import {
  createServer,
  type Http2Session,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { within } from "../../base/wait.ts";
import { PendingConnections } from "../pending-connections.ts";
import { listenUnix, type UnixListener, type UnixListenOptions } from "../unix-socket.ts";
import type { Call, CallEnd, Method, Peer } from "./call.ts";
import { parseTimeout } from "./codec.ts";
import { type CallHost, respondTrailersOnly, ServerCall } from "./server-call.ts";
import { type GrpcStatus, grpcCodeOfKind } from "./status.ts";
import { CallScheduler } from "./call-scheduler.ts";

/** Options of a GrpcServer. */
export interface GrpcServerOptions {
  /**
   * Milliseconds for which calls may begin in one turn of the event loop before it serves its other
   * events; one call takes 0.1 to 1 ms. Undefined begins every call at once.
   */
  readonly callBudgetMs?: number | undefined;
  /** By path, such as `/runtime.v1.RuntimeService/Version`. */
  readonly methods: ReadonlyMap<string, Method>;
  /** Largest message in either direction; CRI clients use 16 MiB. */
  readonly maxMessageBytes: number;
  /** The status for an error that a handler threw. */
  readonly toStatus: (error: unknown) => GrpcStatus;
  readonly logger: Logger;
  /** Called at the start of each call to a known method. The function that it returns is called at the end. */
  readonly onCall?: (call: Call) => ((end: CallEnd) => void) | undefined;
  /** Identifies the peer of a socket by its descriptor. Without it, calls have no `peer`. */
  readonly peerOf?: ((fd: number) => Peer | undefined) | undefined;
  /** A client that does not complete the HTTP/2 connection preface in this time is disconnected; 10 s. */
  readonly prefaceTimeoutMs?: number;
}

const mebibyte = 1024 * 1024;

/** Flow-control window of a whole connection; the streams share it. */
const connectionWindowBytes = 4 * mebibyte;

/** The limits of a connection: generous for a kubelet, small enough for a misbehaving client. */
const http2Limits = {
  settings: {
    // Concurrent calls of a connection. A kubelet uses one connection for all calls.
    maxConcurrentStreams: 1024,
    // Bytes of request headers. gRPC sends about 200; a call with more is reset.
    maxHeaderListSize: 16 * 1024,
    // Bytes that a client may send on a call before it waits: a large request needs few round trips.
    initialWindowSize: mebibyte,
    enablePush: false,
  },
  // Number of request headers; gRPC sends about 10.
  maxHeaderListPairs: 64,
  // MiB that Node.js buffers for a connection, including unsent responses. Beyond it new calls are
  // refused, so it must be enough for some of the largest responses while a client reads slowly.
  maxSessionMemory: 128,
  // Frames that violate the protocol, before the connection is closed. A correct client sends none.
  maxSessionInvalidFrames: 100,
  // Calls refused by the limits above, before the connection is closed.
  maxSessionRejectedStreams: 100,
  // Calls that a client may reset: a burst, and then a rate for each second (rapid reset,
  // CVE-2023-44487); beyond that the connection is closed. A kubelet resets each call that it
  // cancels, so hundreds are possible on an overloaded node.
  streamResetBurst: 2000,
  streamResetRate: 200,
  // Settings in one SETTINGS frame. The protocol defines about 10. Floods of SETTINGS and PING
  // frames are bounded by nghttp2 itself: it closes a connection with 1000 unsent replies.
  maxSettings: 32,
};

/** Bytes that canceled calls of a connection leave unsent, before its client has to open another one: half of its memory. */
const maxUnsentBytes = 64 * mebibyte;

/** Concurrent connections that speak HTTP/2. Each needs a descriptor, and there are only a few clients. */
const maxConnections = 512;

/** Connections without a complete preface. More than the kernel queues for accept(2). */
const maxPending = 1024;

/** The limit of the bytes of incomplete requests over all connections, in messages of the largest size. */
const maxReceivingMessages = 8;

/** A gRPC server for unary and streaming methods. */
export class GrpcServer {
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #services: ReadonlySet<string>;
  readonly #host: CallHost;
  readonly #logger: Logger;
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #pending: PendingConnections<ServerHttp2Session>;
  /** Connections that have completed their preface. */
  readonly #admitted = new Set<ServerHttp2Session>();
  /** Those of them that have made no call yet, the oldest first. */
  readonly #withoutCall = new Set<ServerHttp2Session>();
  readonly #sockets = new Set<Socket>();
  readonly #peers = new WeakMap<object, Peer>();
  /** Bytes of canceled calls that were not sent. */
  readonly #unsent = new WeakMap<object, number>();
  readonly #peerOf: GrpcServerOptions["peerOf"];
  #listener: UnixListener | undefined;
  #calls = 0;
  #stopping: Promise<void> | undefined;

  constructor(options: GrpcServerOptions) {
    this.#methods = options.methods;
    this.#services = new Set([...options.methods.keys()].map(serviceOf));
    this.#logger = options.logger;
    this.#peerOf = options.peerOf;
    this.#pending = new PendingConnections({
      maxCount: maxPending,
      timeoutMs: options.prefaceTimeoutMs ?? 10_000,
      log: options.logger,
      what: "connections without an HTTP/2 preface",
    });
    this.#host = {
      maxMessageBytes: options.maxMessageBytes,
      logger: options.logger,
      receiving: { bytes: 0, maxBytes: maxReceivingMessages * options.maxMessageBytes },
      scheduler: new CallScheduler(options.callBudgetMs ?? Number.POSITIVE_INFINITY),
      toStatus: options.toStatus,
      onCall: options.onCall,
      onUnsent: (session, bytes) => this.#addUnsent(session, bytes),
    };
    this.#server = createServer(http2Limits);
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("session", (session) => this.#addSession(session));
    this.#server.on("stream", (stream, headers) => this.#accept(stream, headers));
    // Invalid data, floods and lost peers end only their own connection.
    this.#server.on("sessionError", (error) => {
      this.#logger.debug("closed a connection after an error", { error });
    });
    this.#server.on("error", (error) =>
      this.#logger.error("failed to accept a connection", { error }),
    );
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sessions.size;
  }

  /** The paths of all methods. */
  get methods(): Iterable<string> {
    return this.#methods.keys();
  }

  /** Calls that are complete and start in a later turn of the event loop. */
  get waitingCalls(): number {
    return this.#host.scheduler.waiting;
  }

  /**
   * Serves the unix socket at `path`; once only.
   *
   * @throws RuntimeError like `listenUnix()`, when the path is in use or cannot be bound.
   */
  async listen(path: string, options: UnixListenOptions): Promise<void> {
    this.#listener = await listenUnix(this.#server, path, options);
  }

  /**
   * Accepts no more connections and calls, waits up to `graceMs` for running calls, then closes all
   * connections. The signals of the remaining calls are aborted.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    const drained = Promise.all([...this.#sessions].map(closedGracefully));
    const closed = this.#listener?.close();
    await within(drained, graceMs);
    for (const session of this.#sessions) session.destroy();
    // A session that was closed gracefully waits for its peer even when it is destroyed. A stopped
    // peer never responds, so the socket must be destroyed, too.
    for (const socket of this.#sockets) socket.destroy();
    await drained;
    await closed;
  }

  #addSession(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    const fd = descriptorOf(session);
    const peer = fd === undefined ? undefined : this.#peerOf?.(fd);
    if (peer !== undefined) this.#peers.set(session, peer);
    session.setLocalWindowSize(connectionWindowBytes);
    this.#pending.add(session);
    session.once("remoteSettings", () => this.#admit(session));
    session.once("close", () => {
      this.#pending.remove(session);
      this.#forget(session);
      this.#sessions.delete(session);
    });
    // The connection was accepted during stop().
    if (this.#stopping !== undefined) session.close();
  }

  /** The session speaks HTTP/2. If there are too many, closes the oldest one that has never made a call. */
  #admit(session: ServerHttp2Session): void {
    if (!this.#pending.remove(session)) return;
    this.#admitted.add(session);
    this.#withoutCall.add(session);
    if (this.#admitted.size <= maxConnections) return;
    const [oldest = session] = this.#withoutCall;
    this.#host.logger.warn(`closed a connection: there are more than ${maxConnections}`, {
      closed:
        oldest === session ? "the new one; all others made calls" : "the oldest without a call",
    });
    this.#forget(oldest);
    oldest.destroy();
  }

  /**
   * NOTE(node): what a canceled call had still to send counts as memory of its connection for as long as that lives, so
   * that all calls of a long connection would be refused in the end. Instead its client is told to use another one;
   * running calls continue.
   */
  #addUnsent(session: Http2Session | undefined, bytes: number): void {
    if (session === undefined || session.closed) return;
    const unsent = (this.#unsent.get(session) ?? 0) + bytes;
    this.#unsent.set(session, unsent);
    if (unsent > maxUnsentBytes) session.close();
  }

  #forget(session: ServerHttp2Session): void {
    this.#admitted.delete(session);
    this.#withoutCall.delete(session);
  }

  #accept(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // A reset with an error code emits `error`, always followed by `close`, which is handled.
    stream.on("error", ignore);
    if (stream.session !== undefined)
      this.#withoutCall.delete(stream.session as ServerHttp2Session);
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
    const peer = stream.session === undefined ? undefined : this.#peers.get(stream.session);
    const facts = { id: this.#calls, path, method, timeoutMs, peer, headers };
    new ServerCall(stream, facts, this.#host);
  }

  #unimplemented(path: string): GrpcStatus {
    const shown = path.slice(0, 256);
    const message = this.#services.has(serviceOf(path))
      ? `call "${shown}": the service has no such method`
      : `call "${shown}": no such service; the server has ${[...this.#services].join(", ")}`;
    return { code: grpcCodeOfKind.unimplemented, message };
  }
}

/**
 * The descriptor of a session's connection.
 * NOTE(node): it is a property of the libuv handle of a socket, which has no public name.
 */
function descriptorOf(session: ServerHttp2Session): number | undefined {
  const { _handle: handle } = session.socket as { readonly _handle?: { readonly fd?: number } };
  return typeof handle?.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}

function ignore(): void {
  // The caller says why.
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

/** The HTTP status for a request that is not gRPC, as PROTOCOL-HTTP2.md requires. */
function httpRefusal(headers: IncomingHttpHeaders): number | undefined {
  if (headers[":method"] !== "POST") return 405;
  const type = headers["content-type"] ?? "";
  return /^application\/grpc(\+proto)?(;|$)/.test(type) ? undefined : 415;
}

function timeoutOf(headers: IncomingHttpHeaders): number | undefined {
  const header = headers["grpc-timeout"];
  if (header === undefined) return undefined;
  if (typeof header === "string") return parseTimeout(header);
  throw new RuntimeError(
    "invalid-argument",
    "parse grpc-timeout: there must be one; there are several",
  );
}
