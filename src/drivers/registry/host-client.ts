import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { isKind, kindOf, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Access, Authorizer } from "./authorizer.ts";
import { type BodyPace, readErrorText } from "./body.ts";
import { shownSource } from "./credential-chain.ts";
import type { Connections } from "./connections.ts";
import {
  abortedError,
  afterRedirect,
  codeOf,
  HostFailure,
  redirectedText,
  registryText,
  statusFailure,
} from "./failure.ts";
import { Secrets } from "./secrets.ts";

/** How long the steps of a request may take. Milliseconds. */
export interface RegistryTiming extends BodyPace {
  /** For a connection, unless hosts.toml sets it. */
  readonly dialTimeoutMs: number;
  /** From the connection to the head of the answer. */
  readonly answerTimeoutMs: number;
  /** Before each further try at one host after a failure that may pass. */
  readonly backoffMs: readonly number[];
}

/** A request to one host. */
export interface HostRequest extends Access {
  readonly method: "GET" | "HEAD";
  /** After the API's root: `/library/busybox/blobs/sha256:...`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Description of the request, for the log. */
  readonly what: string;
}

/** One try of a request: its redirects so far, and the secrets that were sent. */
interface Trail {
  /** The host and port that it was redirected to. Undefined while it is at the host itself. */
  elsewhere: string | undefined;
  /**
   * An answer came from another machine: from then on addresses that only this node reaches are refused. A
   * registry could reach such a service by redirects, and read the answer in the errors.
   */
  isRemote: boolean;
  readonly secrets: Secrets;
}

const maxRedirects = 5;

/** Sends requests to one host: authenticates, follows redirects, and retries. */
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
   * Passes a response of status 200 or 206 to `use`, with the name of the host after a redirect. A
   * transient failure of either is retried a moment later. Writes one log line for each try. Throws a {@link HostFailure}
   * without anything secret in it, or what ended the signal.
   */
  async get<T>(
    request: HostRequest,
    use: (message: IncomingMessage, elsewhere: string | undefined) => T | Promise<T>,
  ): Promise<T> {
    const { host, signal } = request;
    for (let tries = 1; ; tries += 1) {
      const write = this.#logLine(request);
      const trail: Trail = { elsewhere: undefined, isRemote: false, secrets: new Secrets() };
      let message: IncomingMessage | undefined;
      try {
        message = await this.#authorized(request, trail);
        const result = await use(message, trail.elsewhere);
        write("ok", message.statusCode);
        return result;
      } catch (cause) {
        message?.destroy();
        const error = shownError(cause, trail);
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

  /** Begins the time of a try; the result writes its line. */
  #logLine({
    host,
    what,
    credentials,
  }: HostRequest): (outcome: string, status: number | undefined) => void {
    const startedMs = performance.now();
    const source = shownSource(host, credentials);
    return (outcome, status) => {
      const ms = Math.round(performance.now() - startedMs);
      const fields = { host: host.name, what, credentials: source, status, outcome, ms };
      // An image of 20 layers has as many: successes are for debugging.
      if (outcome === "ok") this.#log.debug("asked registry", fields);
      else this.#log.info("asked registry", fields);
    };
  }

  async #authorized(request: HostRequest, trail: Trail): Promise<IncomingMessage> {
    trail.secrets.addCredentials(request.credentials);
    trail.secrets.addHeaders(request.host.headers);
    const first = await this.#authorizer.authorize(request);
    let message = await this.#follow(request, first, trail);
    let text: string | undefined;
    // A challenge of another host is ignored: it would get the registry's credentials.
    if (message.statusCode === 401 && trail.elsewhere === undefined) {
      text = await readErrorText(message, this.#timing);
      const header = message.headers["www-authenticate"];
      const refused = { header, sent: first, isRemote: trail.isRemote };
      const second = await this.#authorizer.reauthorize(request, refused);
      if (second !== undefined) {
        message = await this.#follow(request, second, trail);
        text = undefined;
      }
    }
    const status = message.statusCode ?? 0;
    if (status === 200 || status === 206) return message;
    text ??= await readErrorText(message, this.#timing);
    const said =
      trail.elsewhere === undefined ? registryText(text, trail.secrets) : redirectedText(text);
    throw statusFailure(status, said, message.headers);
  }

  /** Sends the request and follows its redirects. Credentials are sent to the host alone. */
  async #follow(
    request: HostRequest,
    authorization: string | undefined,
    trail: Trail,
  ): Promise<IncomingMessage> {
    const { host } = request;
    const first = new URL(`${host.root}${request.path}`);
    if (host.namespace !== undefined) first.searchParams.set("ns", host.namespace);
    trail.secrets.addAuthorization(authorization);
    let url = first;
    for (let hops = 0; hops <= maxRedirects; hops += 1) {
      trail.elsewhere = url.origin === first.origin ? undefined : url.host;
      const message = await this.#send(request, url, trail, authorization);
      trail.isRemote ||= !this.#connections.isLocal(url, message.socket);
      const location = redirectOf(message);
      if (location === undefined) return message;
      message.destroy();
      const next = URL.parse(location, url.href);
      if (next === null || !/^https?:$/.test(next.protocol)) {
        throw new HostFailure("unavailable", "redirects to something that is not an HTTP address");
      }
      trail.secrets.addUrl(next);
      url = next;
    }
    throw new HostFailure("unavailable", `redirects more than ${maxRedirects} times`);
  }

  async #send(
    request: HostRequest,
    url: URL,
    { elsewhere, isRemote }: Trail,
    authorization: string | undefined,
  ): Promise<IncomingMessage> {
    const { host, method, signal } = request;
    const isOwn = elsewhere === undefined;
    const exchange = {
      method,
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
      refuseLocal: isRemote,
      signal,
    };
    try {
      if (isOwn && this.#plain.has(host.root)) {
        return await this.#connections.send({ ...exchange, url: asPlain(url) });
      }
      return await this.#connections.send({ ...exchange, url });
    } catch (error) {
      if (!isOwn || !host.mayBePlain || !isPlainHttp(error, url)) throw error;
      const message = await this.#connections.send({ ...exchange, url: asPlain(url) });
      this.#plain.add(host.root);
      return message;
    }
  }
}

/** The error of a try for messages: it names the host that failed, and has no secret in it. */
function shownError(cause: unknown, { elsewhere, secrets }: Trail): unknown {
  const error = elsewhere === undefined ? cause : afterRedirect(cause, elsewhere);
  if (!(error instanceof HostFailure)) return error;
  const message = secrets.mask(error.message);
  if (message === error.message) return error;
  // Without the cause, whose message has the secret.
  return new HostFailure(error.kind, message, { retryable: error.retryable });
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

/**
 * The errors of OpenSSL and the kernel when the peer answers a TLS hello with plain HTTP, or where it is
 * not at the port of HTTPS.
 */
function isPlainHttp(error: unknown, { port }: URL): boolean {
  if (!(error instanceof HostFailure) || !isKind(error, "unavailable")) return false;
  if (port === "" && codeOf(error.cause) === "ECONNREFUSED") return true;
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
