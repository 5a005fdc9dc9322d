import { createHash, randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

// A constant of the protocol (RFC 6455, 1.3).
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** A server's `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`. */
export function acceptKey(key: string): string {
  return createHash("sha1").update(`${key}${guid}`).digest("base64");
}

/** A new `Sec-WebSocket-Key`. */
export function makeKey(): string {
  return randomBytes(16).toString("base64");
}

/** Why a request with `Upgrade: websocket` is rejected; undefined when it is valid. */
export function refusalOf(headers: IncomingHttpHeaders): string | undefined {
  if (headers["sec-websocket-version"] !== "13") return "Sec-WebSocket-Version must be 13";
  const key = headers["sec-websocket-key"];
  const isValid = key !== undefined && Buffer.from(key, "base64").length === 16;
  return isValid ? undefined : "Sec-WebSocket-Key must be 16 bytes in base64";
}
