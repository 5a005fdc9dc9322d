import type { IncomingMessage } from "node:http";

import { messageOf } from "../../base/errors.ts";
import type { Clock } from "../../base/time.ts";
import { type BodyPace, readErrorText, readWhole } from "./body.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Connections, Exchange } from "./connections.ts";
import { basicAuthorization, type Credentials } from "./credentials.ts";
import { abortedError, asRecord, HostFailure, statusFailure, tokenServiceText } from "./failure.ts";
import type { RegistryHost } from "./registry-hosts.ts";
import { Secrets } from "./secrets.ts";

/** A token service, as named by a registry's challenge. */
interface TokenService {
  readonly realm: URL;
  readonly service: string;
  /** In addition to what the request itself needs. */
  readonly scope: string;
  /** The registry is on another machine, and must not lead to what only this node reaches. */
  readonly refuseLocal: boolean;
}

interface Token {
  readonly value: string;
  readonly expiresAtMs: number;
}

/** What a request needs to be allowed to do, and as whom. */
export interface Access {
  readonly host: RegistryHost;
  /** `repository:library/busybox:pull` (distribution, token scope documentation). */
  readonly scope: string;
  readonly credentials: Credentials;
  readonly signal: AbortSignal;
}

/** An answer 401 of a host. */
interface Refusal {
  /** Its `WWW-Authenticate`. */
  readonly header: string | undefined;
  /** The Authorization that it has refused. */
  readonly sent: string | undefined;
  /** The challenge is from another machine. */
  readonly isRemote: boolean;
}

const maxRemembered = 1000;
const maxTokenBytes = 1024 * 1024;
// The default of the token service's specification.
const defaultLifeSeconds = 60;

/**
 * Finds the `Authorization` value that a registry requires: none, Basic, or a token from the service
 * that it names. Remembers what each host wanted and the tokens until they expire, so that only
 * the first request of a pull is refused and sent again.
 */
export class Authorizer {
  readonly #connections: Connections;
  readonly #clock: Clock;
  readonly #limits: { readonly timeoutMs: number; readonly pace: BodyPace };
  readonly #userAgent: string;
  /** By host and credentials. */
  readonly #wanted = new Map<string, TokenService | "basic">();
  /** By service, scope and credentials; shared by the requests that wait for one. */
  readonly #tokens = new Map<string, Promise<Token>>();

  constructor(options: {
    readonly connections: Connections;
    readonly clock: Clock;
    readonly userAgent: string;
    readonly limits: { readonly timeoutMs: number; readonly pace: BodyPace };
  }) {
    this.#connections = options.connections;
    this.#clock = options.clock;
    this.#userAgent = options.userAgent;
    this.#limits = options.limits;
  }

  /** The value to send before the first answer of the host. Undefined for none. */
  async authorize(access: Access): Promise<string | undefined> {
    const { credentials } = access;
    if (credentials.kind === "registry-token") return `Bearer ${credentials.secret}`;
    const wanted = this.#wanted.get(wantedKey(access));
    return wanted === undefined ? undefined : this.#answer(wanted, access);
  }

  /** The value to send after a refusal. Undefined without a better one. */
  async reauthorize(access: Access, refusal: Refusal): Promise<string | undefined> {
    const { header, sent, isRemote } = refusal;
    if (access.credentials.kind === "registry-token") return undefined;
    const wanted = chooseChallenge(parseChallenges(header), access.credentials, isRemote);
    if (wanted === undefined) return undefined;
    remember(this.#wanted, wantedKey(access), wanted);
    if (wanted !== "basic") await this.#forgetToken(wanted, access, sent);
    const answer = await this.#answer(wanted, access);
    return answer === sent ? undefined : answer;
  }

  async #answer(wanted: TokenService | "basic", access: Access): Promise<string> {
    if (wanted === "basic") return basicAuthorization(access.credentials);
    return `Bearer ${(await this.#token(wanted, access)).value}`;
  }

  async #token(service: TokenService, access: Access): Promise<Token> {
    const key = tokenKey(service, access);
    const known = this.#tokens.get(key);
    if (known !== undefined) {
      const token = await beforeAbort(known, access.signal);
      if (token.expiresAtMs > this.#clock.nowMs()) return token;
    }
    // Another request may have asked again while this one waited.
    const current = this.#tokens.get(key);
    if (current !== undefined && current !== known) return beforeAbort(current, access.signal);
    // Not under the signal of one request: others wait for the same token.
    const fetched = this.#fetchToken(service, access);
    remember(this.#tokens, key, fetched);
    fetched.catch(() => {
      if (this.#tokens.get(key) === fetched) this.#tokens.delete(key);
    });
    return beforeAbort(fetched, access.signal);
  }

  /** Drops a token that the registry has refused, unless a newer one replaced it. */
  async #forgetToken(
    service: TokenService,
    access: Access,
    sent: string | undefined,
  ): Promise<void> {
    const key = tokenKey(service, access);
    const known = this.#tokens.get(key);
    const token = await known?.catch(() => undefined);
    const isRefused = token !== undefined && sent === `Bearer ${token.value}`;
    if (isRefused && this.#tokens.get(key) === known) this.#tokens.delete(key);
  }

  async #fetchToken(service: TokenService, access: Access): Promise<Token> {
    const { realm } = service;
    const askedAtMs = this.#clock.nowMs();
    try {
      const message = await this.#connections.send(this.#tokenRequest(service, access));
      const status = message.statusCode ?? 0;
      if (status !== 200) throw await this.#refusal(message, access);
      const bytes = await readWhole(message, maxTokenBytes, this.#limits.pace);
      return parseToken(bytes, askedAtMs);
    } catch (cause) {
      if (!(cause instanceof HostFailure)) throw cause;
      const why = `its token service "${realm.host}" ${messageOf(cause)}`;
      throw new HostFailure(cause.kind, why, { retryable: cause.retryable, cause });
    }
  }

  async #refusal(message: IncomingMessage, { credentials, host }: Access): Promise<HostFailure> {
    const status = message.statusCode ?? 0;
    const text = await readErrorText(message, this.#limits.pace);
    const secrets = new Secrets();
    secrets.addCredentials(credentials);
    secrets.addHeaders(host.headers);
    const said = tokenServiceText(text, secrets);
    const failure = statusFailure(status, said, message.headers);
    // Token services answer 400 to credentials that they do not know (OAuth2, invalid_grant).
    if (status !== 400) return failure;
    return new HostFailure("unauthenticated", failure.message);
  }

  #tokenRequest(service: TokenService, access: Access): Exchange {
    const { host, credentials } = access;
    const url = new URL(service.realm);
    const isExposed = wouldExpose(url, host);
    // The configuration's headers and certificates are for this host, and as secret as a password.
    const isOwn = url.host === new URL(host.root).host && !isExposed;
    if (isExposed && credentials.kind !== "none") {
      throw new HostFailure("unauthenticated", "is not encrypted and asks for the credentials");
    }
    const headers: Record<string, string | readonly string[]> = {
      ...(isOwn ? host.headers : {}),
      "user-agent": this.#userAgent,
      accept: "application/json",
    };
    const parameters = new URLSearchParams();
    if (service.service !== "") parameters.set("service", service.service);
    const scopes = [...new Set([access.scope, service.scope].filter((scope) => scope !== ""))];
    let body: string | undefined;
    if (credentials.kind === "identity-token") {
      // OAuth2 takes all scopes in one text (distribution, "Docker Registry v2 OAuth2").
      parameters.set("grant_type", "refresh_token");
      parameters.set("client_id", this.#userAgent);
      parameters.set("scope", scopes.join(" "));
      parameters.set("refresh_token", credentials.secret);
      headers["content-type"] = "application/x-www-form-urlencoded";
      body = parameters.toString();
    } else {
      for (const scope of scopes) parameters.append("scope", scope);
      for (const [name, value] of parameters) url.searchParams.append(name, value);
      if (credentials.kind === "password")
        headers["authorization"] = basicAuthorization(credentials);
    }
    return {
      url,
      method: body === undefined ? "GET" : "POST",
      headers: body === undefined ? headers : { ...headers, "content-length": `${body.length}` },
      body,
      tls: isOwn ? host.tls : { ...host.tls, client: [] },
      dialTimeoutMs: host.dialTimeoutMs ?? this.#limits.timeoutMs,
      answerTimeoutMs: this.#limits.timeoutMs,
      refuseLocal: service.refuseLocal,
      signal: AbortSignal.timeout(4 * this.#limits.timeoutMs),
    };
  }
}

/** Whether the token service would receive over HTTP what the host receives over TLS. */
function wouldExpose(realm: URL, { root, mayBePlain }: RegistryHost): boolean {
  return realm.protocol === "http:" && root.startsWith("https:") && !mayBePlain;
}

/** Basic needs a password. A token can be requested anonymously. */
function chooseChallenge(
  challenges: readonly Challenge[],
  credentials: Credentials,
  isRemote: boolean,
): TokenService | "basic" | undefined {
  for (const { scheme, parameters } of challenges) {
    if (scheme === "basic" && credentials.kind === "password") return "basic";
    if (scheme !== "bearer") continue;
    const realm = URL.parse(parameters.get("realm") ?? "");
    if (realm === null || !/^https?:$/.test(realm.protocol)) {
      throw new HostFailure(
        "unauthenticated",
        "requires a token and names no service to get it from",
      );
    }
    return {
      realm,
      service: parameters.get("service") ?? "",
      scope: parameters.get("scope") ?? "",
      refuseLocal: isRemote,
    };
  }
  return undefined;
}

function parseToken(bytes: Uint8Array, askedAtMs: number): Token {
  let raw: unknown;
  try {
    raw = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    throw new HostFailure("unavailable", "answered with something that is not JSON");
  }
  const record = asRecord(raw);
  const value = [record?.["token"], record?.["access_token"]].find(
    (text) => typeof text === "string" && text !== "",
  );
  // Sent in a header: RFC 6750 allows only these characters.
  if (typeof value !== "string" || !/^[\x21-\x7e]+$/.test(value)) {
    throw new HostFailure("unauthenticated", "answered without a token");
  }
  const given = record?.["expires_in"];
  const seconds = typeof given === "number" && given > 0 ? given : defaultLifeSeconds;
  // The lifetime starts at the request, by the local clock. The token is dropped shortly before it expires.
  const marginMs = Math.min(10_000, (seconds * 1000) / 4);
  return { value, expiresAtMs: askedAtMs + seconds * 1000 - marginMs };
}

function wantedKey({ host, credentials }: Access): string {
  return `${host.root} ${credentials.key}`;
}

function tokenKey(service: TokenService, { scope, credentials }: Access): string {
  return JSON.stringify([
    service.realm.href,
    service.service,
    service.scope,
    scope,
    credentials.key,
  ]);
}

/** Adds to a map of limited size: the oldest entry is removed first. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  const [oldest] = map.keys();
  if (map.size >= maxRemembered && oldest !== undefined) map.delete(oldest);
  map.set(key, value);
}

/** As `promise`, but the signal ends the waiting. */
function beforeAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(abortedError(signal));
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortedError(signal));
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
