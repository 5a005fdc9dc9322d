import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { promisify } from "node:util";
import { constants, gzip } from "node:zlib";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { PendingConnections } from "../../wire/pending-connections.ts";
import { listenUnix, type UnixListener, type UnixListenOptions } from "../../wire/unix-socket.ts";
import { contentType } from "./exposition.ts";

/** Options of a MetricsServer. */
export interface MetricsServerOptions {
  /** The text of all series. */
  readonly text: () => Promise<string>;
  readonly log: Logger;
  /** How long a connection may exist after its last request began. Milliseconds. */
  readonly idleTimeoutMs?: number;
  /** How long a client may take for a request. Milliseconds. */
  readonly requestTimeoutMs?: number;
  /** A text serves all requests of this time, so that a flood of them costs little. Milliseconds. */
  readonly textAgeMs?: number;
}

/** Where a MetricsServer listens. */
export type MetricsAddress =
  | { readonly host: string; readonly port: number }
  | ({ readonly path: string } & UnixListenOptions);

/** Connections. A few clients scrape; beyond the limit the one that has been silent longest is closed. */
const maxConnections = 64;

/** Bytes of the headers of a request. Prometheus sends about 300. */
const maxHeaderBytes = 8 * 1024;

const maxHeaders = 64;

/** Prometheus scrapes every minute at least by default, and keeps its connection between two scrapes. */
const defaultIdleTimeoutMs = 120_000;

const defaultRequestTimeoutMs = 10_000;

const defaultTextAgeMs = 100;

/** Smaller answers are not compressed. */
const minCompressedLength = 4096;

/** Serves `GET /metrics` and nothing else, over TCP or on a unix socket. */
export class MetricsServer implements AsyncDisposable {
  readonly #options: MetricsServerOptions;
  readonly #server: Server;
  /** All connections, in the order of their last requests. */
  readonly #connections: PendingConnections<Socket>;
  readonly #open = new Set<Socket>();
  /** Connections with a request that is being answered. */
  readonly #busy = new WeakSet<Socket>();
  #listener: UnixListener | undefined;
  #current: Body | undefined;

  private constructor(options: MetricsServerOptions) {
    this.#options = options;
    const idleMs = options.idleTimeoutMs ?? defaultIdleTimeoutMs;
    const requestMs = options.requestTimeoutMs ?? defaultRequestTimeoutMs;
    this.#connections = new PendingConnections({
      maxCount: maxConnections,
      timeoutMs: idleMs,
      log: options.log,
      what: "connections to the metrics endpoint",
    });
    this.#server = createServer({
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: Math.min(requestMs / 2, 5_000),
    });
    this.#server.maxHeadersCount = maxHeaders;
    this.#server.on("connection", (socket: Socket) => this.#connected(socket));
    this.#server.on("request", (request, response) => void this.#serve(request, response));
  }

  /**
   * Starts to listen.
   *
   * @throws what listenUnix() throws, and for TCP the error of the system, when the address is in use or cannot be bound
   */
  static async listen(
    address: MetricsAddress,
    options: MetricsServerOptions,
  ): Promise<MetricsServer> {
    const metrics = new MetricsServer(options);
    await metrics.#listen(address);
    // NOTE(node): a later failure, such as an accept without a free descriptor, must not end the daemon.
    metrics.#server.on("error", (error) => {
      options.log.warn("failed to accept a connection for metrics", { reason: messageOf(error) });
    });
    return metrics;
  }

  /** Closes all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed =
      this.#listener?.close() ??
      new Promise<void>((resolve) => {
        this.#server.close(() => resolve());
      });
    for (const socket of this.#open) socket.destroy();
    await closed;
  }

  async #listen(address: MetricsAddress): Promise<void> {
    if ("path" in address) {
      const { path, ...options } = address;
      this.#listener = await listenUnix(this.#server, path, options);
      return;
    }
    const { host, port } = address;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, host, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
  }

  #connected(socket: Socket): void {
    this.#open.add(socket);
    this.#connections.add(socket);
    socket.once("close", () => {
      this.#open.delete(socket);
      this.#connections.remove(socket);
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket, method = "", url = "" } = request;
    if (this.#busy.has(socket)) {
      // Clients that scrape do not pipeline, and many answers at once would need much memory.
      socket.destroy();
      return;
    }
    this.#busy.add(socket);
    response.once("close", () => this.#busy.delete(socket));
    // Its time begins again, and it is now the newest.
    if (this.#connections.remove(socket)) this.#connections.add(socket);
    const refusal = refuse(method, url) ?? refuseBrowser(request);
    if (refusal !== undefined) {
      answerShortly(response, refusal);
      return;
    }
    try {
      const body = this.#body();
      const plain = await body.plain;
      const zips = plain.byteLength >= minCompressedLength && acceptsGzip(request);
      const bytes = zips ? await (body.zipped ??= zip(plain)) : plain;
      response.writeHead(200, {
        "content-type": contentType,
        "content-length": bytes.byteLength,
        ...(zips ? { "content-encoding": "gzip" } : {}),
      });
      response.end(method === "HEAD" ? undefined : bytes);
    } catch (error) {
      this.#options.log.error("failed to make the text of the metrics", { error });
      answerShortly(response, { status: 500, reason: "see the log of davit" });
    }
  }

  #body(): Body {
    const atMs = performance.now();
    const maxAgeMs = this.#options.textAgeMs ?? defaultTextAgeMs;
    if (this.#current === undefined || atMs - this.#current.atMs > maxAgeMs) {
      const plain = this.#options.text().then((text) => Buffer.from(text, "utf8"));
      this.#current = { plain, zipped: undefined, atMs };
    }
    return this.#current;
  }
}

/** One answer for all requests that arrive close together. */
interface Body {
  readonly plain: Promise<Buffer>;
  zipped: Promise<Buffer> | undefined;
  readonly atMs: number;
}

interface Refusal {
  readonly status: number;
  readonly reason: string;
}

function refuse(method: string, url: string): Refusal | undefined {
  if (url.split("?")[0] !== "/metrics")
    return { status: 404, reason: "not found: the metrics are at /metrics" };
  if (method === "GET" || method === "HEAD") return undefined;
  return { status: 405, reason: "only GET and HEAD are served" };
}

/**
 * Refuses what a page in a browser sends: with a name that it makes point here (DNS rebinding), it could read the answer.
 * Scrapers send none of these headers. Browsers send Sec-Fetch-Site to loopback addresses only.
 */
function refuseBrowser({ headers }: IncomingMessage): Refusal | undefined {
  if (headers.origin === undefined && headers["sec-fetch-site"] === undefined) return undefined;
  if (headers["sec-fetch-site"] === "none") return undefined; // typed into the address bar
  return { status: 403, reason: "not for pages of a browser" };
}

function answerShortly(response: ServerResponse, { status, reason }: Refusal): void {
  // The rest of a body that nobody reads must not be the next request.
  const headers = { "content-type": "text/plain; charset=utf-8", connection: "close" };
  response.writeHead(status, status === 405 ? { ...headers, allow: "GET, HEAD" } : headers);
  response.end(`${reason}\n`);
}

/** Compresses on a thread of the pool. */
function zip(plain: Buffer): Promise<Buffer> {
  return promisify(gzip)(plain, { level: constants.Z_BEST_SPEED });
}

/** Whether Accept-Encoding names gzip, and not with the weight 0 (RFC 9110, section 12.5.3). */
function acceptsGzip({ headers }: IncomingMessage): boolean {
  const accepted = headers["accept-encoding"] ?? "";
  return accepted.split(",").some((each) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$)|$)/i.test(each));
}
