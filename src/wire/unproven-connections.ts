import type { Logger } from "../base/logger.ts";

/** What UnprovenConnections are kept by. */
export interface UnprovenOptions {
  /** How many there may be at once. */
  readonly places: number;
  /** How long one may take to show what it is. */
  readonly timeoutMs: number;
  readonly log: Logger;
  /** What they are, in the plural, for the log. */
  readonly what: string;
}

/** A flood is told once in this time. */
const tellEveryMs = 60_000;

/**
 * Connections that have not shown yet that they are a client's. They cost a peer nothing, so they have places of
 * their own and little time: when all places are taken the oldest is closed, never the one that has just come.
 * A client shows what it is at once, and gets through however many others stand and say nothing.
 */
export class UnprovenConnections<T extends { destroy(): unknown }> {
  readonly #options: UnprovenOptions;
  /** The oldest first. */
  readonly #waiting = new Map<T, NodeJS.Timeout>();
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: UnprovenOptions) {
    this.#options = options;
  }

  /** How many there are. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Takes a connection in, for as long as the options say; it is destroyed then. */
  add(connection: T): void {
    const timer = setTimeout(() => this.#close(connection), this.#options.timeoutMs);
    this.#waiting.set(connection, timer);
    if (this.#waiting.size <= this.#options.places) return;
    this.#tell();
    const [oldest] = this.#waiting.keys();
    if (oldest !== undefined) this.#close(oldest);
  }

  /** It has shown what it is, or is gone. False when it was none of them. */
  remove(connection: T): boolean {
    clearTimeout(this.#waiting.get(connection));
    return this.#waiting.delete(connection);
  }

  #close(connection: T): void {
    this.remove(connection);
    connection.destroy();
  }

  #tell(): void {
    const now = performance.now();
    if (now - this.#toldAtMs < tellEveryMs) return;
    this.#toldAtMs = now;
    const { log, places, what } = this.#options;
    log.warn(`more than ${places} ${what} at once: the oldest are closed`);
  }
}
