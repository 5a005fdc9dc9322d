// A gRPC server on the HTTP/2 of this project (wire/http2), independent of protobuf: messages are bytes. One
// GrpcServer serves one unix socket; server-call.ts handles a single call, codec.ts is the wire format.
//
// NOTE(grpc): the `:authority` of a request may be anything, also empty or a path: grpc-go before 1.57 sends that for
// unix targets. kubelet and crictl send `localhost` or a percent-encoded path.
import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "../../base/logger.ts";
import { within } from "../../base/wait.ts";
import { ServerConnection } from "../http2/connection.ts";
import { encodeHeaders } from "../http2/hpack/index.ts";
import { SharedMemory } from "../http2/limits.ts";
import type { RequestHead } from "../http2/request-head.ts";
import type { ServerStream } from "../http2/stream.ts";
import { PendingConnections } from "../pending-connections.ts";
import { listenUnix, type UnixListener, type UnixListenOptions } from "../unix-socket.ts";
import type { Call, CallEnd, Method, Peer } from "./call.ts";
import { parseTimeout } from "./codec.ts";
import { Deadlines } from "./deadlines.ts";
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
  readonly #server: Server;
  readonly #memory = new SharedMemory();
  readonly #connections = new Set<ServerConnection>();
  readonly #pending: PendingConnections<ServerConnection>;
  /** Connections that have completed their preface. */
  readonly #admitted = new Set<ServerConnection>();
  /** Those of them that have made no call yet, the oldest first. */
  readonly #withoutCall = new Set<ServerConnection>();
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
      receiving: {
        bytes: 0,
        maxBytes: maxReceivingMessages * options.maxMessageBytes,
        calls: new Set(),
      },
      scheduler: new CallScheduler(options.callBudgetMs ?? Number.POSITIVE_INFINITY),
      toStatus: options.toStatus,
      onCall: options.onCall,
      deadlines: new Deadlines(),
    };
    this.#server = createServer((socket) => this.#connect(socket));
    this.#server.on("error", (error) =>
      this.#logger.error("failed to accept a connection", { error }),
    );
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#connections.size;
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
    const drained = Promise.all([...this.#connections].map(closedGracefully));
    const closed = this.#listener?.close();
    await within(drained, graceMs);
    for (const connection of this.#connections) connection.destroy();
    await drained;
    await closed;
  }

  #connect(socket: Socket): void {
    const fd = descriptorOf(socket);
    const peer = fd === undefined ? undefined : this.#peerOf?.(fd);
    const connection = new ServerConnection({
      socket,
      memory: this.#memory,
      onReady: () => this.#admit(connection),
      onStream: (stream) => this.#accept(stream, connection, peer),
      onMemoryFull: () => this.#closeLargest(),
      onClose: (error) => {
        this.#pending.remove(connection);
        this.#forget(connection);
        this.#connections.delete(connection);
        // Invalid data, floods and lost peers end only their own connection.
        if (error !== undefined)
          this.#logger.debug("closed a connection after an error", { error });
      },
    });
    this.#connections.add(connection);
    this.#pending.add(connection);
    // The connection was accepted during stop().
    if (this.#stopping !== undefined) connection.stop();
  }

  /** The client speaks HTTP/2. If there are too many, closes the oldest one that has never made a call. */
  #admit(connection: ServerConnection): void {
    if (!this.#pending.remove(connection)) return;
    this.#admitted.add(connection);
    this.#withoutCall.add(connection);
    if (this.#admitted.size <= maxConnections) return;
    const [oldest = connection] = this.#withoutCall;
    this.#logger.warn(`closed a connection: there are more than ${maxConnections}`, {
      closed:
        oldest === connection ? "the new one; all others made calls" : "the oldest without a call",
    });
    this.#forget(oldest);
    oldest.destroy();
  }

  /** Closes the connection whose client has the most responses to read. */
  #closeLargest(): void {
    let largest: ServerConnection | undefined;
    for (const connection of this.#connections) {
      if (connection.unsentBytes > (largest?.unsentBytes ?? 0)) largest = connection;
    }
    this.#logger.warn("closed a connection: too many responses wait for clients that do not read", {
      bytes: largest?.unsentBytes,
    });
    largest?.destroy();
  }

  #forget(connection: ServerConnection): void {
    this.#admitted.delete(connection);
    this.#withoutCall.delete(connection);
  }

  #accept(stream: ServerStream, connection: ServerConnection, peer: Peer | undefined): void {
    this.#withoutCall.delete(connection);
    const { head } = stream;
    const httpStatus = httpRefusal(head);
    if (httpStatus !== undefined) {
      stream.respond(encodeHeaders([[":status", String(httpStatus)]]), true);
      stream.rejectRest();
      return;
    }
    const { path } = head;
    const method = this.#methods.get(path);
    if (method === undefined) {
      respondTrailersOnly(stream, this.#unimplemented(path));
      return;
    }
    const encoding = head.get("grpc-encoding");
    if (encoding !== undefined && encoding !== "identity") {
      const message = `call "${path}": message encoding "${encoding.slice(0, 32)}" is not supported`;
      respondTrailersOnly(stream, { code: grpcCodeOfKind.unimplemented, message }, [
        ["grpc-accept-encoding", "identity"],
      ]);
      return;
    }
    let timeoutMs: number | undefined;
    try {
      const timeout = head.get("grpc-timeout");
      if (timeout !== undefined) timeoutMs = parseTimeout(timeout);
    } catch (error) {
      respondTrailersOnly(stream, this.#host.toStatus(error));
      return;
    }
    this.#calls += 1;
    const facts = { id: this.#calls, path, method, timeoutMs, peer };
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
 * The descriptor of a connection.
 * NOTE(node): it is a property of the libuv handle of a socket, which has no public name.
 */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: number } };
  return typeof handle?.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}

function closedGracefully(connection: ServerConnection): Promise<void> {
  return new Promise((resolve) => {
    connection.socket.once("close", () => resolve());
    connection.stop();
  });
}

function serviceOf(path: string): string {
  return path.slice(1, Math.max(1, path.lastIndexOf("/")));
}

/** The HTTP status for a request that is not gRPC, as PROTOCOL-HTTP2.md requires. */
function httpRefusal(head: RequestHead): number | undefined {
  if (head.method !== "POST") return 405;
  const type = head.get("content-type") ?? "";
  return /^application\/grpc(\+proto)?(;|$)/.test(type) ? undefined : 415;
}
