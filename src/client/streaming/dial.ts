import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { acceptKey, makeKey } from "../../wire/websocket/handshake.ts";
import { type ErrorKind, RuntimeError, wrap } from "../../base/errors.ts";

/** A connection after an HTTP upgrade. */
export interface Dialed {
  readonly transport: Duplex;
  /** Headers of the response, names in lower case. */
  readonly headers: IncomingMessage["headers"];
}

/** The upgrade request. */
export interface DialOptions {
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to a streaming address and upgrades the connection. A refusal is an error with the server's message:
 * `not-found` when the address was used before or has expired, else `failed-precondition`;
 * `unavailable` when no process listens.
 */
export function dial(url: string, { method, headers, signal }: DialOptions): Promise<Dialed> {
  const { promise, resolve, reject } = Promise.withResolvers<Dialed>();
  const secure = url.startsWith("https:");
  const make = secure ? httpsRequest : httpRequest;
  const loopback = /^https:\/\/(127\.|localhost[:/]|\[::1\])/.test(url);
  const sent = make(url, {
    method,
    headers: {
      connection: "Upgrade",
      ...headers,
      ...(method === "POST" && { "content-length": 0 }),
    },
    agent: false,
    // The address came from the CRI socket, and traffic on the loopback cannot be intercepted. A
    // server there uses a self-signed certificate.
    ...(secure && { rejectUnauthorized: !loopback }),
    ...(signal && { signal }),
  });
  sent.on("upgrade", (response, transport, head) => {
    if (head.length > 0) transport.unshift(head);
    resolve({ transport, headers: response.headers });
  });
  sent.on("response", (response) => {
    const { statusCode = 0 } = response;
    text(response).then(
      (body) => reject(refused(url, statusCode, body)),
      (cause: unknown) => reject(wrap(`connect to "${url}"`, cause)),
    );
  });
  sent.on("error", (cause) => reject(failed(url, cause)));
  sent.end();
  return promise;
}

/** Like dial(), for a WebSocket. Also returns the sub-protocol that the server chose, "" for none. */
export async function dialWebSocket(
  url: string,
  protocols: readonly string[],
  signal?: AbortSignal,
): Promise<{ readonly transport: Duplex; readonly protocol: string }> {
  const key = makeKey();
  const { transport, headers } = await dial(url, {
    method: "GET",
    headers: {
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": key,
      "sec-websocket-protocol": protocols.join(", "),
    },
    signal,
  });
  if (headers["sec-websocket-accept"] !== acceptKey(key)) {
    transport.destroy();
    throw new RuntimeError("internal", `connect to "${url}": the server does not speak WebSocket`);
  }
  return { transport, protocol: headers["sec-websocket-protocol"] ?? "" };
}

function refused(url: string, code: number, body: string): RuntimeError {
  const kind: ErrorKind = code === 404 ? "not-found" : "failed-precondition";
  const hint = code === 404 ? "; an address is valid once, for one minute: request a new one" : "";
  const why = body.trim().slice(0, 1024);
  return new RuntimeError(
    kind,
    `connect to "${url}": the server responded with ${code}: ${why}${hint}`,
  );
}

function failed(url: string, cause: Error): RuntimeError {
  if (cause.name === "AbortError") return wrap(`connect to "${url}"`, cause);
  return new RuntimeError("unavailable", `connect to "${url}": ${cause.message}`, { cause });
}
