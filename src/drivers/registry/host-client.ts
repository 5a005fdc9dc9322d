import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { isKind, kindOf, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Access, Authorizer } from "./authorizer.ts";
import { type BodyPace, readErrorText } from "./body.ts";
import type { Connections } from "./connections.ts";
import { secretsOf } from "./credentials.ts";
import { abortedError, codeOf, HostFailure, registryText, statusFailure } from "./failure.ts";

/** How long the steps of a request may take. Milliseconds. */
export interface RegistryTiming extends BodyPace {
  /** For a connection, where hosts.toml says nothing else. */
  readonly dialTimeoutMs: number;
  /** From the connection to the head of the answer. */
  readonly answerTimeoutMs: number;
  /** Before each further try at one host after a failure that may pass. */
  readonly backoffMs: readonly number[];
}

/** A request to one host. */
export interface HostRequest extends Access {
  /** After the API's root: `/library/busybox/blobs/sha256:...`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** What is asked for, in words for the log. */
  readonly what: string;
}

const maxRedirects = 5;

/** Asks one host, with what it wants for authentication, through its redirects, and again. */
export class HostClient {
  readonly #connections: Connections;
  readonly #authorizer: Authorizer;
  readonly #timing: RegistryTiming;
  readonly #userAgent: string;
  readonly #log: Logger;
  /** Roots of hosts that turned out to speak plain HTTP. */
  readonly #plain = new Set<string>();

  constructor(options: {
    readonly connections: Connections;
    readonly authorizer: Authorizer;
    readonly timing: RegistryTiming;
    readonly userAgent: string;
    readonly log: Logger;
  }) {
    this.#connections = options.connections;
    this.#authorizer = options.authorizer;
    this.#timing = options.timing;
    this.#userAgent = options.userAgent;
    this.#log = options.log;
  }

  /**
   * Gets an answer of status 200 or 206 and has `use` make something of it; a failure of either
   * that may pass is tried again a moment later. Writes one log line for each try. Throws a
   * {@link HostFailure}, or what ended the signal.
   */
  async get<T>(
    request: HostRequest,
    use: (message: IncomingMessage) => T | Promise<T>,
  ): Promise<T> {
    const { host, what, credentials, signal } = request;
    for (let tries = 1; ; tries += 1) {
      const startedMs = performance.now();
      const write = (outcome: string, status: number | undefined): void => {
        const ms = Math.round(performance.now() - startedMs);
        const hasHeader = host.headers["authorization"] !== undefined;
        const source =
          credentials.kind === "none" && hasHeader ? "header of hosts.toml" : credentials.source;
        this.#log.info("asked registry", {
          host: host.name,
          what,
          credentials: source,
          status,
          outcome,
          ms,
        });
      };
      let message: IncomingMessage | undefined;
      try {
        message = await this.#authorized(request);
        const result = await use(message);
        write("ok", message.statusCode);
        return result;
      } catch (error) {
        message?.destroy();
        write(signal.aborted ? "stopped by its caller" : messageOf(error), message?.statusCode);
        if (signal.aborted) throw abortedError(signal);
        this.#plain.delete(host.root);
        const backoffMs = this.#timing.backoffMs[tries - 1];
        const isPassing = error instanceof HostFailure && error.retryable;
        if (!isPassing || backoffMs === undefined) throw error;
        await pause(backoffMs, signal);
      }
    }
  }

  async #authorized(request: HostRequest): Promise<IncomingMessage> {
    const first = await this.#authorizer.authorize(request);
    let message = await this.#follow(request, first);
    let text: string | undefined;
    let last = first;
    if (message.statusCode === 401) {
      text = await readErrorText(message, this.#timing);
      const header = message.headers["www-authenticate"];
      const second = await this.#authorizer.reauthorize(request, header, first);
      if (second !== undefined) {
        message = await this.#follow(request, second);
        text = undefined;
        last = second;
      }
    }
    const status = message.statusCode ?? 0;
    if (status === 200 || status === 206) return message;
    text ??= await readErrorText(message, this.#timing);
    const secrets = [...secretsOf(request.credentials), (last ?? "").replace(/^\w+ /, "")];
    throw statusFailure(status, registryText(text, secrets), message.headers);
  }

  /** Sends the request and follows where it leads. What proves who we are goes to the host alone. */
  async #follow(request: HostRequest, authorization: string | undefined): Promise<IncomingMessage> {
    const { host } = request;
    const first = new URL(`${host.root}${request.path}`);
    if (host.namespace !== undefined) first.searchParams.set("ns", host.namespace);
    let url = first;
    for (let hops = 0; hops <= maxRedirects; hops += 1) {
      const isOwn = url.origin === first.origin;
      const message = await this.#send(request, url, isOwn, authorization);
      const location = redirectOf(message);
      if (location === undefined) return message;
      message.destroy();
      const next = URL.parse(location, url.href);
      if (next === null || !/^https?:$/.test(next.protocol)) {
        throw new HostFailure("unavailable", "redirects to something that is no HTTP address");
      }
      url = next;
    }
    throw new HostFailure("unavailable", `redirects more than ${maxRedirects} times`);
  }

  async #send(
    request: HostRequest,
    url: URL,
    isOwn: boolean,
    authorization: string | undefined,
  ): Promise<IncomingMessage> {
    const { host, signal } = request;
    const exchange = {
      method: "GET" as const,
      headers: {
        ...(isOwn ? host.headers : {}),
        ...(isOwn && authorization !== undefined ? { authorization } : {}),
        "user-agent": this.#userAgent,
        // A transport encoding would hide the sizes and the bytes that digests are of.
        "accept-encoding": "identity",
        ...request.headers,
      },
      body: undefined,
      tls: isOwn ? host.tls : { ...host.tls, client: [] },
      dialTimeoutMs: host.dialTimeoutMs ?? this.#timing.dialTimeoutMs,
      answerTimeoutMs: this.#timing.answerTimeoutMs,
      signal,
    };
    const redirected = (error: unknown): unknown =>
      isOwn || !(error instanceof HostFailure)
        ? error
        : new HostFailure(error.kind, `redirects to "${url.host}", which ${error.message}`, {
            retryable: error.retryable,
            cause: error,
          });
    try {
      if (isOwn && this.#plain.has(host.root)) {
        return await this.#connections.send({ ...exchange, url: asPlain(url) });
      }
      return await this.#connections.send({ ...exchange, url });
    } catch (error) {
      if (!isOwn || !host.mayBePlain || !isPlainHttp(error)) throw redirected(error);
      const message = await this.#connections.send({ ...exchange, url: asPlain(url) });
      this.#plain.add(host.root);
      return message;
    }
  }
}

function redirectOf(message: IncomingMessage): string | undefined {
  const isRedirect = [301, 302, 303, 307, 308].includes(message.statusCode ?? 0);
  return isRedirect ? message.headers.location : undefined;
}

function asPlain(url: URL): URL {
  const plain = new URL(url);
  plain.protocol = "http:";
  return plain;
}

/** What OpenSSL and the kernel say when the other side answers a TLS hello with plain HTTP. */
function isPlainHttp(error: unknown): boolean {
  if (!(error instanceof HostFailure) || !isKind(error, "unavailable")) return false;
  return /^(EPROTO|ECONNRESET|ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST))$/.test(
    codeOf(error.cause),
  );
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw kindOf(error) === "canceled" ? abortedError(signal) : error;
  }
}
