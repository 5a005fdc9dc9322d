import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

/** A request to upgrade its connection from HTTP to another protocol. */
export interface Upgrade {
  readonly request: IncomingMessage;
  readonly transport: Duplex;
}

/** The protocols that a client may request in `Upgrade`. */
export type UpgradeTo = "spdy" | "websocket";

/** The requested protocol; undefined for any other. */
export function upgradeTo(request: IncomingMessage): UpgradeTo | undefined {
  const wanted = (request.headers.upgrade ?? "").toLowerCase();
  if (wanted === "spdy/3.1") return "spdy";
  return wanted === "websocket" ? "websocket" : undefined;
}

/** The values of a header that may be repeated or be a list with commas. */
export function headerWords(request: IncomingMessage, name: string): readonly string[] {
  const lines = request.headersDistinct[name] ?? [];
  return lines.flatMap((line) => line.split(",")).map((word) => word.trim());
}

/** The first protocol of the client that the server supports, undefined if none; `fallback` when it named none. */
export function chooseProtocol<T extends string>(
  wanted: readonly string[],
  served: readonly T[],
  fallback: T,
): T | undefined {
  if (wanted.length === 0) return fallback;
  for (const word of wanted) {
    const found = served.find((protocol) => protocol === word);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Switches to the other protocol. */
export function switchProtocols({ transport }: Upgrade, headers: readonly string[]): void {
  transport.write(
    ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", ...headers, "", ""].join("\r\n"),
  );
}

/** How long a client that was refused may take to close its end. */
const refusedMs = 5_000;

/** Sends an HTTP error and closes the connection, after a timeout also if the client does not. */
export function refuseUpgrade(
  { transport }: Upgrade,
  code: number,
  reason: string,
  headers: readonly string[] = [],
): void {
  const body = `${reason}\n`;
  const head = [
    `HTTP/1.1 ${code} ${process.getBuiltinModule("node:http").STATUS_CODES[code] ?? ""}`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...headers,
  ];
  transport.on("error", () => undefined);
  const timer = setTimeout(() => transport.destroy(), refusedMs).unref();
  transport.once("close", () => clearTimeout(timer));
  // Data of the client is dropped: unread data would hide that the client has closed the connection.
  transport.resume();
  transport.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
