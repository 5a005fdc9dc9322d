import type { Logger } from "../base/logger.ts";

/** Options of PendingConnections. */
export interface PendingOptions {
  /** How many there may be at the same time. */
  readonly maxCount: number;
  /** How long a connection may be pending. */
  readonly timeoutMs: number;
  readonly log: Logger;
  /** The kind of connections, in the plural, for the log. */
  readonly what: string;
}

/** A flood is logged once in this time. */
const logEveryMs = 60_000;

/**
 * Connections whose peer has not yet proved to be a client. They cost a peer nothing, so they have a limit of
 * their own and a timeout. Beyond the limit the oldest is closed, never the newest.
 * A client completes its handshake at once, so it is served however many silent connections there are.
 */
export class PendingConnections<T extends { destroy(): unknown }> {
  readonly #options: PendingOptions;
  /** The oldest first. */
  readonly #timers = new Map<T, NodeJS.Timeout>();
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: PendingOptions) {
    this.#options = options;
  }

  /** The number of pending connections. */
  get size(): number {
    return this.#timers.size;
  }

  /** Adds a connection. It is destroyed at the timeout. */
  add(connection: T): void {
    const timer = setTimeout(() => this.#close(connection), this.#options.timeoutMs);
    this.#timers.set(connection, timer);
    if (this.#timers.size <= this.#options.maxCount) return;
    this.#logFlood();
    const [oldest] = this.#timers.keys();
    if (oldest !== undefined) this.#close(oldest);
  }

  /** The peer is a client, or the connection is closed. False when the connection was not pending. */
  remove(connection: T): boolean {
    clearTimeout(this.#timers.get(connection));
    return this.#timers.delete(connection);
  }

  #close(connection: T): void {
    this.remove(connection);
    connection.destroy();
  }

  #logFlood(): void {
    const now = performance.now();
    if (now - this.#loggedAtMs < logEveryMs) return;
    this.#loggedAtMs = now;
    const { log, maxCount, what } = this.#options;
    log.warn(`closed the oldest of more than ${maxCount} ${what}`);
  }
}
