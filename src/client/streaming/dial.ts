import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { acceptKey, makeKey } from "../../wire/websocket/handshake.ts";
import { type ErrorKind, RuntimeError, wrap } from "../../base/errors.ts";

/** A connection that has left HTTP. */
export interface Dialed {
  readonly transport: Duplex;
  /** Of the answer, names in lower case. */
  readonly headers: IncomingMessage["headers"];
}

/** How to leave HTTP. */
export interface DialOptions {
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to a streaming address and leaves HTTP. A refusal is an error with the server's words:
 * `not-found` where the address was used before or is late, else `failed-precondition`;
 * `unavailable` when nobody listens.
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
    // The address came from the CRI socket, and nobody sits between two ends of the loopback; a
    // server there makes its certificate itself.
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

/** As dial(), for a WebSocket; with the sub-protocol that the server chose, "" for none. */
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
    throw new RuntimeError("internal", `connect to "${url}": the server speaks no WebSocket`);
  }
  return { transport, protocol: headers["sec-websocket-protocol"] ?? "" };
}

function refused(url: string, code: number, body: string): RuntimeError {
  const kind: ErrorKind = code === 404 ? "not-found" : "failed-precondition";
  const hint = code === 404 ? "; an address is good once, for one minute: ask for a new one" : "";
  const why = body.trim().slice(0, 1024);
  return new RuntimeError(kind, `connect to "${url}": the server answered ${code}: ${why}${hint}`);
}

function failed(url: string, cause: Error): RuntimeError {
  if (cause.name === "AbortError") return wrap(`connect to "${url}"`, cause);
  return new RuntimeError("unavailable", `connect to "${url}": ${cause.message}`, { cause });
}
