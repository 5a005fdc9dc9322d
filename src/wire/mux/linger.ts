import type { Duplex } from "node:stream";

const lingerMs = 5_000;

/**
 * Gives the peer a while to close its end; what it sends meanwhile is read and dropped. 5 s unless
 * told otherwise.
 */
export function linger(transport: Duplex, timeoutMs = lingerMs): void {
  if (transport.destroyed) return;
  const timer = setTimeout(() => transport.destroy(), timeoutMs);
  timer.unref();
  transport.once("close", () => clearTimeout(timer));
  transport.resume();
}
