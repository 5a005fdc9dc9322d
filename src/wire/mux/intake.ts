import type { Duplex } from "node:stream";

/** What an Intake is made of. */
export interface IntakeOptions {
  readonly transport: Duplex;
  /** Unread bytes of all streams together above which nothing more is read from the connection. */
  readonly limitBytes: number;
  /** Called now and then while nothing is read: what it sends fails when the peer is gone. */
  readonly probe: () => void;
  /** Time between two probes; 10 s. */
  readonly probeEveryMs?: number;
}

/**
 * The bytes that streams of one connection hold unread. Beyond the limit the connection is not read:
 * TCP then holds the peer back. A socket that is not read does not show that its peer left, hence
 * the probes.
 */
export class Intake {
  /** As in the options; may change. */
  limitBytes: number;
  readonly #options: IntakeOptions;
  #held = 0;
  #probes: NodeJS.Timeout | undefined;
  #over = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.limitBytes = options.limitBytes;
  }

  /** Bytes that are held now. */
  get heldBytes(): number {
    return this.#held;
  }

  add(bytes: number): void {
    this.#held += bytes;
    if (this.#over || this.#probes !== undefined || this.#held <= this.limitBytes) return;
    this.#options.transport.pause();
    this.#probes = setInterval(this.#options.probe, this.#options.probeEveryMs ?? 10_000);
    this.#probes.unref();
  }

  take(bytes: number): void {
    this.#held -= bytes;
    if (this.#probes === undefined || this.#held > this.limitBytes / 2) return;
    this.#stopProbes();
    this.#options.transport.resume();
  }

  /** The connection is gone. */
  end(): void {
    this.#over = true;
    this.#stopProbes();
  }

  #stopProbes(): void {
    clearInterval(this.#probes);
    this.#probes = undefined;
  }
}
