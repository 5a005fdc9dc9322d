import type { Duplex } from "node:stream";

const lingerMs = 5_000;

/**
 * Waits for the peer to close its end, 5 s if not given, then destroys the connection. Data that the peer sends
 * meanwhile is read and dropped.
 */
export function linger(transport: Duplex, timeoutMs = lingerMs): void {
  if (transport.destroyed) return;
  const timer = setTimeout(() => transport.destroy(), timeoutMs);
  timer.unref();
  transport.once("close", () => clearTimeout(timer));
  transport.resume();
}
