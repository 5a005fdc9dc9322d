import type { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type QueueLimits, Subscription } from "./subscription.ts";

/** The readers of a stream of events, each with its own queue of encoded events. */
export class Readers {
  readonly #limits: QueueLimits;
  readonly #log: Logger;
  readonly #all = new Set<Subscription>();
  #closed: RuntimeError | undefined;

  /**
   * `limits` is the most that waits for one reader. The queues share the encoded events and all end with the newest,
   * so all readers together hold no more than the slowest one.
   */
  constructor(limits: QueueLimits, log: Logger) {
    this.#limits = limits;
    this.#log = log;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Adds a reader, which must dispose of the result. Throws the error of close() after it. */
  add(onEnd: () => void = () => undefined): Subscription {
    if (this.#closed !== undefined) throw this.#closed;
    const subscription = new Subscription(this.#limits, (ended) => {
      this.#all.delete(ended);
      onEnd();
    });
    this.#all.add(subscription);
    return subscription;
  }

  /** Adds an event to all queues. A reader that does not keep up loses its own, and is disconnected. */
  push(event: Uint8Array): void {
    for (const subscription of this.#all) {
      if (!subscription.push(event)) {
        this.#log.warn("ended an event stream: its client does not keep up");
      }
    }
  }

  /** Ends all subscriptions with this error, after the events that wait for them. */
  failAll(error: RuntimeError): void {
    for (const subscription of this.#all) subscription.fail(error);
  }

  /** The same, and refuses other readers. */
  close(error: RuntimeError): void {
    this.#closed ??= error;
    this.failAll(error);
  }
}
