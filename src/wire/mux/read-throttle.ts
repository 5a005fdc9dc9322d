import type { Duplex } from "node:stream";

/** Options of a ReadThrottle. */
export interface ReadThrottleOptions {
  readonly transport: Duplex;
  /** The connection is not read while all streams together have more unread bytes than this. */
  readonly limitBytes: number;
  /**
   * Called regularly while the connection is not read. It sends something, which fails when the peer has disconnected.
   */
  readonly probe: () => void;
  /** The interval of the probes; 10 s. */
  readonly probeIntervalMs?: number;
}

/**
 * Counts the unread bytes of the streams of one connection. Beyond the limit the connection is not read, so
 * that TCP stops the peer. A socket that is not read does not report that its peer disconnected; the probes do.
 */
export class ReadThrottle {
  /** As in the options; it may be changed. */
  limitBytes: number;
  readonly #options: ReadThrottleOptions;
  #unread = 0;
  #probes: NodeJS.Timeout | undefined;
  #hasEnded = false;

  constructor(options: ReadThrottleOptions) {
    this.#options = options;
    this.limitBytes = options.limitBytes;
  }

  /** The number of unread bytes. */
  get unreadBytes(): number {
    return this.#unread;
  }

  add(bytes: number): void {
    this.#unread += bytes;
    if (this.#hasEnded || this.#probes !== undefined || this.#unread <= this.limitBytes) return;
    this.#options.transport.pause();
    this.#probes = setInterval(this.#options.probe, this.#options.probeIntervalMs ?? 10_000);
    this.#probes.unref();
  }

  remove(bytes: number): void {
    this.#unread -= bytes;
    if (this.#probes === undefined || this.#unread > this.limitBytes / 2) return;
    this.#stopProbes();
    this.#options.transport.resume();
  }

  /** The connection is closed. */
  end(): void {
    this.#hasEnded = true;
    this.#stopProbes();
  }

  #stopProbes(): void {
    clearInterval(this.#probes);
    this.#probes = undefined;
  }
}
