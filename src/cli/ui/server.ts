// The server of `davit ui`. Each request passes the checks of its host, site and session before a route sees
// it. Start at UiServer; the routes are at the end.
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type ErrorKind, kindOf, messageOf, wrap } from "../../base/errors.ts";
import { PendingConnections } from "../../wire/pending-connections.ts";
import { silentLogger } from "../../base/logger.ts";
import type { Server } from "../server/session.ts";
import {
  Access,
  isFromElsewhere,
  isOwnHost,
  isOwnOrigin,
  type ListenAddress,
  requestKey,
  shellKey,
  urlHost,
} from "./access.ts";
import { actionOf, runAction } from "./actions.ts";
import { podDetail } from "./detail.ts";
import { Live } from "./live.ts";
import { sendLog } from "./logs.ts";
import type { PageFile } from "./page-file.ts";
import { Poller } from "./poller.ts";
import { readBody } from "./body.ts";
import { commonHeaders, refuseUpgrade, sendFailure, sendJson, sendPage } from "./respond.ts";
import { Shells } from "./shell.ts";

/** Options of a UiServer. */
export interface UiOptions {
  readonly server: Server;
  readonly listen: ListenAddress;
  /** Allows to stop and remove, and to open shells. */
  readonly canWrite: boolean;
  readonly page: PageFile;
  /** The directories of davit run, which are removed with their pods. */
  readonly podsRoot: string;
}

/** Browsers open six connections for a page, and one for each shell. */
const maxConnections = 128;
/** Connections without a session yet. Any user of the machine can make them. */
const maxPending = 64;
/** Time to load the page, log in and ask for something. */
const pendingMs = 30_000;
/** A client that sends its request slower than this is disconnected. */
const requestMs = 10_000;

type Route = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void> | void;

/** Serves the page and its data. */
export class UiServer implements AsyncDisposable {
  readonly #options: UiOptions;
  readonly #http: HttpServer;
  readonly #sockets = new Set<Socket>();
  readonly #pending = new PendingConnections<Socket>({
    maxCount: maxPending,
    timeoutMs: pendingMs,
    log: silentLogger,
    what: "connections without a session",
  });
  readonly #listen: ListenAddress;
  readonly #access: Access;
  readonly #live: Live;
  readonly #poller: Poller;
  readonly #shells: Shells;
  readonly #routes: ReadonlyMap<string, Route>;

  /** Starts to listen. Throws if the address is not available. */
  static async open(options: UiOptions): Promise<UiServer> {
    const { host, port } = options.listen;
    const http = createServer({
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 16 * 1024,
    });
    http.maxConnections = maxConnections;
    http.listen({ host, port });
    try {
      await once(http, "listening");
    } catch (cause) {
      throw wrap(`listen on "${host}" port ${port}`, cause);
    }
    return new UiServer(options, http);
  }

  private constructor(options: UiOptions, http: HttpServer) {
    this.#options = options;
    this.#http = http;
    // It is a socket of the network, so the address is not a path.
    const { port } = http.address() as AddressInfo;
    this.#listen = { host: options.listen.host, port };
    this.#access = new Access(port);
    this.#live = new Live((pages) => this.#poller.setPages(pages));
    this.#poller = new Poller(options.server, this.#live, options.canWrite);
    this.#shells = new Shells(options.server);
    this.#routes = this.#makeRoutes();
    http.on("connection", (socket: Socket) => this.#connected(socket));
    http.on("request", (request: IncomingMessage, response: ServerResponse) => {
      void this.#respond(request, response);
    });
    http.on("upgrade", (request: IncomingMessage, transport: Duplex, head: Buffer) => {
      if (head.length > 0) transport.unshift(head);
      this.#upgrade(request, transport);
    });
    // NOTE(node): a failure to accept a connection must not end the process.
    http.on("error", () => undefined);
  }

  /** The address for a browser. The token is in the fragment, which browsers do not send. */
  get url(): string {
    const { host, port } = this.#listen;
    return `http://${urlHost(host)}:${port}/#token=${this.#access.token}`;
  }

  /** Closes all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#poller.setPages(0);
    const closed = once(this.#http, "close");
    this.#http.close();
    // Those of shells and refused upgrades as well, which closeAllConnections() leaves open.
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #connected(socket: Socket): void {
    this.#sockets.add(socket);
    this.#pending.add(socket);
    socket.on("close", () => {
      this.#pending.remove(socket);
      this.#sockets.delete(socket);
    });
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => undefined);
    const url = urlOf(request);
    const refusal = this.#refusal(request, url);
    if (url === undefined || refusal !== undefined) {
      sendFailure(response, refusal?.code ?? 400, refusal?.why ?? "invalid URL");
      return;
    }
    try {
      await this.#routes.get(`${request.method ?? ""} ${url.pathname}`)?.(request, response, url);
    } catch (error) {
      sendFailure(response, codes[kindOf(error)] ?? 500, messageOf(error));
    }
  }

  /** Why a request does not reach its route; undefined if it does. */
  #refusal(
    { headers, method = "", socket }: IncomingMessage,
    url: URL | undefined,
  ): { readonly code: number; readonly why: string } | undefined {
    if (!isOwnHost(headers.host, this.#listen)) {
      return { code: 403, why: "the Host header does not name this server" };
    }
    if (url === undefined) return { code: 400, why: "invalid URL" };
    const isPage = url.pathname === "/";
    // A link on another page may open the page, but nothing else.
    if (!isPage && isFromElsewhere(headers)) return { code: 403, why: "another site asks" };
    if (method !== "GET" && !isOwnOrigin(headers)) {
      return { code: 403, why: "the Origin header does not name this server" };
    }
    if (!this.#routes.has(`${method} ${url.pathname}`)) return { code: 404, why: "not found" };
    if (isPage || url.pathname === "/api/login") return undefined;
    if (this.#access.isOpen(headers, requestKey(headers))) {
      this.#pending.remove(socket);
      return undefined;
    }
    return { code: 401, why: "open the address that davit ui has printed" };
  }

  #upgrade(request: IncomingMessage, transport: Duplex): void {
    // NOTE(node): an "error" without a listener would end the process.
    transport.on("error", () => undefined);
    const url = urlOf(request);
    const { headers } = request;
    const why = !isOwnHost(headers.host, this.#listen)
      ? "403 Forbidden"
      : !isOwnOrigin(headers)
        ? "403 Forbidden"
        : !this.#access.isOpen(headers, shellKey(headers))
          ? "401 Unauthorized"
          : url?.pathname !== "/api/shell"
            ? "404 Not Found"
            : !this.#options.canWrite
              ? "403 Forbidden"
              : undefined;
    if (why !== undefined || url === undefined) {
      refuseUpgrade(transport, why ?? "400 Bad Request");
      return;
    }
    this.#pending.remove(request.socket);
    this.#shells.open(request, transport, url.searchParams.get("container") ?? "");
  }

  #makeRoutes(): ReadonlyMap<string, Route> {
    const { server, page, canWrite, podsRoot } = this.#options;
    return new Map<string, Route>([
      ["GET /", (_, response) => sendPage(response, page)],
      ["POST /api/login", (request, response) => this.#login(request, response)],
      ["GET /api/live", (_, response) => this.#openLive(response)],
      [
        "GET /api/pod",
        async (_, response, { searchParams }) => {
          sendJson(response, await podDetail(server, searchParams.get("id") ?? ""));
        },
      ],
      ["GET /api/logs", (_, response, { searchParams }) => sendLog(server, response, searchParams)],
      [
        "POST /api/action",
        async (request, response) => {
          if (!canWrite) {
            sendFailure(response, 403, "read-only: start davit ui with --write");
            return;
          }
          const action = actionOf(await readBody(request));
          if (action === undefined) {
            sendFailure(response, 400, "invalid action");
            return;
          }
          await runAction(server, podsRoot, action);
          this.#poller.refresh();
          sendJson(response, {});
        },
      ],
    ]);
  }

  async #login(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    const session = this.#access.open(typeof body["token"] === "string" ? body["token"] : "");
    if (session === undefined) sendFailure(response, 401, "the token is wrong");
    else sendJson(response, { key: session.key }, { "set-cookie": session.cookie });
  }

  #openLive(response: ServerResponse): void {
    response.writeHead(200, { ...commonHeaders, "content-type": "application/x-ndjson" });
    if (!this.#live.open(response)) response.destroy();
  }
}

/** The URL of a request; undefined if it is not a path. */
function urlOf({ url = "" }: IncomingMessage): URL | undefined {
  const whole = `http://ui${url}`;
  return url.startsWith("/") && URL.canParse(whole) ? new URL(whole) : undefined;
}

const codes: Readonly<Partial<Record<ErrorKind, number>>> = {
  "not-found": 404,
  "invalid-argument": 400,
  "failed-precondition": 409,
  "resource-exhausted": 429,
  unimplemented: 501,
  unavailable: 503,
  "deadline-exceeded": 504,
};
