// Who may talk to the server of `davit ui`: the token, the sessions, and the checks of a request's headers.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { isIP, isIPv6 } from "node:net";

/** 192 bits: longer than any attacker on the same machine can guess. */
const tokenBytes = 24;
/** Each browser that presents the token has one. More end the oldest. */
const maxSessions = 16;

/** The address that the server listens on. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** What a browser gets for the token. A request needs both secrets. */
export interface Session {
  /** The `Set-Cookie`. Browsers send a cookie to every port of a host, so other servers see it. */
  readonly cookie: string;
  /** The page keeps it for its own origin, port included, so that no other server sees it. */
  readonly key: string;
}

/** The digests of a session's secrets. */
interface SessionDigests {
  readonly cookie: Buffer;
  readonly key: Buffer;
}

/**
 * The token of the printed address and the sessions that it was exchanged for. A secret that is guessed
 * wrong costs the server a hash, and the comparison takes the same time for every wrong one.
 */
export class Access {
  /** The token that opens a session. It is printed once, and never logged. */
  readonly token = randomBytes(tokenBytes).toString("base64url");
  readonly #hash = digest(this.token);
  readonly #cookie: string;
  /** Oldest first. */
  #sessions: readonly SessionDigests[] = [];

  /** The name of the cookie has the port, since two servers of one host share their cookies. */
  constructor(port: number) {
    this.#cookie = `davit-ui-${port}`;
  }

  /** A new session for this token; undefined if the token is wrong. */
  open(token: string): Session | undefined {
    if (!timingSafeEqual(digest(token), this.#hash)) return undefined;
    const secret = randomBytes(tokenBytes).toString("base64url");
    const key = randomBytes(tokenBytes).toString("base64url");
    const digests = { cookie: digest(secret), key: digest(key) };
    this.#sessions = [...this.#sessions, digests].slice(-maxSessions);
    return { cookie: `${this.#cookie}=${secret}; HttpOnly; SameSite=Strict; Path=/`, key };
  }

  /**
   * Whether a request has the cookie and the key of a session. They may be of two sessions: all tabs have the
   * cookie of the one that logged in last, and each has a key of its own.
   */
  isOpen(headers: IncomingHttpHeaders, key: string): boolean {
    const secrets = {
      cookie: digest(cookieOf(headers.cookie ?? "", this.#cookie) ?? ""),
      key: digest(key),
    };
    // All are compared, so that the time does not depend on the one that matches.
    const count = (of: keyof SessionDigests): number =>
      this.#sessions.filter((session) => timingSafeEqual(session[of], secrets[of])).length;
    const [cookies, keys] = [count("cookie"), count("key")];
    return cookies > 0 && keys > 0;
  }
}

/** The key that a request of the page has; empty if it has none. */
export function requestKey(headers: IncomingHttpHeaders): string {
  const key = headers["x-davit-key"];
  return typeof key === "string" ? key : "";
}

/** The protocol of a shell's WebSocket. */
export const shellProtocol = "davit-shell";

/**
 * The key that the WebSocket of a shell has, as a protocol `key.KEY` beside shellProtocol: browsers send no headers
 * of a page with it. Empty if either is missing.
 */
export function shellKey(headers: IncomingHttpHeaders): string {
  const protocols = (headers["sec-websocket-protocol"] ?? "").split(",").map((each) => each.trim());
  if (!protocols.includes(shellProtocol)) return "";
  return protocols.find((each) => each.startsWith("key."))?.slice("key.".length) ?? "";
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function cookieOf(header: string, name: string): string | undefined {
  const pair = header
    .split(";")
    .map((each) => each.trim())
    .find((each) => each.startsWith(`${name}=`));
  return pair?.slice(name.length + 1);
}

/**
 * Whether `Host` names this server by an address or as localhost. A page of another site that resolves its own
 * name to this address (DNS rebinding) has that name in `Host`.
 */
export function isOwnHost(host: string | undefined, { host: bound, port }: ListenAddress): boolean {
  const [, name = "", number = "80"] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(host ?? "") ?? [];
  if (Number(number) !== port) return false;
  if (name.toLowerCase() === "localhost") return true;
  const address = name.replace(/^\[(.*)\]$/, "$1");
  if (isIP(address) === 0) return false;
  return address === bound || /^[0.:]+$/.test(bound);
}

/**
 * Whether a request was made by this server's own page: for requests that change something, and for
 * WebSockets, to which the same-origin policy does not apply.
 */
export function isOwnOrigin({ origin, host }: IncomingHttpHeaders): boolean {
  return origin !== undefined && origin === `http://${host ?? ""}`;
}

/** Whether the browser says that another site, or another port of this host, made the request. */
export function isFromElsewhere(headers: IncomingHttpHeaders): boolean {
  const site = headers["sec-fetch-site"];
  return site !== undefined && site !== "same-origin" && site !== "none";
}

/** An address as part of a URL. */
export function urlHost(host: string): string {
  return isIPv6(host) ? `[${host}]` : host;
}

/** Whether only this machine can connect to an address. */
export function isLoopback(host: string): boolean {
  return host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
