import { createHash } from "node:crypto";
import type * as http from "node:http";
import type { Socket } from "node:net";
import type * as tls from "node:tls";

import { isLocalConnection, type ProxyEnv } from "../../wire/local-address.ts";
import { systemCertificates } from "../../wire/system-certificates.ts";
import { abortedError, connectionFailure, HostFailure } from "./failure.ts";

/** How to trust a server and be trusted by it. Certificates and keys are PEM texts. */
export interface TlsSettings {
  /** Trusted in addition to the system's. */
  readonly ca: readonly string[];
  readonly client: readonly { readonly cert: string; readonly key: string }[];
  readonly skipVerify: boolean;
}

/** One HTTP request. */
export interface Exchange {
  readonly url: URL;
  readonly method: "GET" | "HEAD" | "POST";
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: string | undefined;
  readonly tls: TlsSettings;
  /** Time for the connection, with TLS. */
  readonly dialTimeoutMs: number;
  /** Time from the connection to the head of the answer. */
  readonly answerTimeoutMs: number;
  /** Sends nothing where {@link Connections.isLocal} is true. */
  readonly refuseLocal: boolean;
  readonly signal: AbortSignal;
}

// Of Node.js, HTTP and TLS: loaded with the first request, since a start takes 5 ms more with them.
const builtin: NodeJS.Process["getBuiltinModule"] = (id: string) => process.getBuiltinModule(id);

// Beyond this number, entries are most likely for replaced certificates.
const maxAgents = 64;
const idleConnectionMs = 15_000;

/** Connections to registries, kept open between requests. */
export class Connections implements Disposable {
  readonly #proxyEnv: ProxyEnv;
  /** By what their connections have in common. */
  readonly #agents = new Map<string, http.Agent>();

  constructor(proxyEnv: ProxyEnv) {
    this.#proxyEnv = proxyEnv;
  }

  /**
   * Sends a request and resolves with the head of the answer; its body must be read or destroyed.
   * A {@link HostFailure} of kind `unavailable` when there is no answer. The signal ends the
   * request and, until the body's end, the reading of it; the socket is closed immediately.
   */
  send(exchange: Exchange): Promise<http.IncomingMessage> {
    const { signal, body } = exchange;
    if (signal.aborted) return Promise.reject(abortedError(signal));
    return new Promise((resolve, reject) => {
      const request = this.#open(exchange);
      const stop = (error: Error): void => {
        reject(error);
        request.destroy(error);
      };
      const onAbort = (): void => stop(abortedError(signal));
      // Read in any case: Node keeps the address for later reads, when the peer may have closed it.
      const isRefused = (socket: Socket): boolean =>
        this.isLocal(exchange.url, socket) && exchange.refuseLocal;
      const clock = limit(request, exchange, isRefused, stop);
      signal.addEventListener("abort", onAbort, { once: true });
      request.on("error", (error) => {
        clock.stop();
        signal.removeEventListener("abort", onAbort);
        reject(signal.aborted ? abortedError(signal) : connectionFailure(error));
      });
      request.on("response", (message) => {
        clock.stop();
        signal.removeEventListener("abort", onAbort);
        const onLateAbort = (): void => void message.destroy(abortedError(signal));
        if (signal.aborted) onLateAbort();
        signal.addEventListener("abort", onLateAbort, { once: true });
        message.once("close", () => signal.removeEventListener("abort", onLateAbort));
        // The reader of the body gets its errors; an error before or after has no reader.
        message.on("error", () => undefined);
        resolve(message);
      });
      request.end(body);
    });
  }

  /** {@link isLocalConnection}, by the proxies of these connections. */
  isLocal(url: URL, socket: Socket): boolean {
    return isLocalConnection(url, socket, this.#proxyEnv);
  }

  /** Closes all connections. */
  [Symbol.dispose](): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  #open({ url, method, headers, tls: settings }: Exchange): http.ClientRequest {
    // Node requires mutable arrays.
    const sent = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [
        name,
        typeof value === "string" ? value : [...value],
      ]),
    );
    const isPlain = url.protocol === "http:";
    const agent = this.#agentFor(isPlain ? undefined : settings, isThisMachine(url.hostname));
    const { request } = builtin(isPlain ? "node:http" : "node:https");
    return request(url, { method, headers: sent, agent });
  }

  /** `settings` are undefined for plain HTTP. Nothing on this machine is asked through a proxy. */
  #agentFor(settings: TlsSettings | undefined, isDirect: boolean): http.Agent {
    const text = JSON.stringify([settings, isDirect]);
    const key = createHash("sha256").update(text).digest("hex");
    const known = this.#agents.get(key);
    if (known !== undefined) return known;
    const [oldest] = this.#agents.keys();
    // Its requests continue, and its idle connections end by themselves.
    if (this.#agents.size >= maxAgents && oldest !== undefined) this.#agents.delete(oldest);
    const options = {
      keepAlive: true,
      timeout: idleConnectionMs,
      ...(isDirect ? {} : { proxyEnv: this.#proxyEnv }),
    };
    const agent =
      settings === undefined
        ? new (builtin("node:http").Agent)(options)
        : new (builtin("node:https").Agent)({
            ...options,
            rejectUnauthorized: !settings.skipVerify,
            // Made once: each connection would read the system's certificates, some 150.
            secureContext: secureContextOf(settings),
          });
    this.#agents.set(key, agent);
    return agent;
  }
}

function secureContextOf(settings: TlsSettings): tls.SecureContext {
  try {
    return builtin("node:tls").createSecureContext({
      // Without verification the system's certificates are not loaded.
      ca: settings.skipVerify ? [] : [...systemCertificates(), ...settings.ca],
      cert: settings.client.map(({ cert }) => cert),
      key: settings.client.map(({ key }) => key),
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HostFailure(
      "failed-precondition",
      `has certificates in its configuration that cannot be used: ${why}`,
      { cause },
    );
  }
}

/**
 * Ends a request that takes too long to connect, or to answer once it is connected, or that is
 * connected to where it must not be.
 */
function limit(
  request: http.ClientRequest,
  { url, dialTimeoutMs, answerTimeoutMs }: Exchange,
  isRefused: (socket: Socket) => boolean,
  stop: (error: Error) => void,
): { stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  const within = (ms: number, what: string): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      stop(new HostFailure("unavailable", `${what} within ${ms / 1000} s`));
    }, ms);
  };
  const connected = (): void => within(answerTimeoutMs, "did not answer");
  const check = (socket: Socket): void => {
    if (!isRefused(socket)) return;
    const why =
      "is at an address that only this node reaches, where no registry elsewhere may lead";
    stop(new HostFailure("failed-precondition", why));
  };
  within(dialTimeoutMs, "did not take the connection");
  request.once("socket", (socket) => {
    // Before a byte is written: Node.js passes the request to the socket after this event.
    if (socket.connecting) socket.once("connect", () => check(socket));
    else check(socket);
    const event = url.protocol === "https:" ? "secureConnect" : "connect";
    if (socket.connecting) socket.once(event, connected);
    else connected(); // kept open from an earlier request
  });
  return { stop: () => clearTimeout(timer) };
}

/** True for `localhost` and addresses of the loopback, as a URL writes them. */
export function isThisMachine(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
}
