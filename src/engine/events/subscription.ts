import { RuntimeError } from "../../base/errors.ts";

/** The most that a subscription holds for its reader. */
export interface QueueLimits {
  readonly events: number;
  readonly bytes: number;
}

/**
 * The encoded events that one reader has not read yet. A reader that falls behind the limits loses them
 * all, so that it delays nobody and holds no memory; its next read fails with `resource-exhausted`.
 */
export class Subscription implements AsyncIterable<Uint8Array>, Disposable {
  readonly #limits: QueueLimits;
  readonly #onEnd: (subscription: Subscription) => void;
  #queue: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #failure: RuntimeError | undefined;
  #wake: (() => void) | undefined;

  /** `onEnd` is called once, when it takes no more events. */
  constructor(limits: QueueLimits, onEnd: (subscription: Subscription) => void) {
    this.#limits = limits;
    this.#onEnd = onEnd;
  }

  /** Adds an event for the reader. False if the reader is too slow: then the subscription has ended. */
  push(event: Uint8Array): boolean {
    if (this.#ended) return true;
    const { events, bytes } = this.#limits;
    if (this.#queue.length >= events || this.#bytes + event.length > bytes) {
      this.#drop();
      this.fail(
        new RuntimeError(
          "resource-exhausted",
          `read events: the client does not keep up, and events were dropped after ${events} events or ${bytes} bytes were waiting for it; open a new stream, list the objects again, and read it without delay`,
        ),
      );
      return false;
    }
    this.#queue.push(event);
    this.#bytes += event.length;
    this.#wake?.();
    return true;
  }

  /** Ends it with an error, which the reader gets after the events that are waiting. */
  fail(error: RuntimeError): void {
    if (this.#ended) return;
    this.#failure = error;
    this.#end();
  }

  /** Ends it without an error and drops what is waiting: the reader has left. */
  [Symbol.dispose](): void {
    this.#drop();
    this.#end();
  }

  /** Waits for each event. For one reader. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const event = this.#queue.shift();
      if (event !== undefined) {
        this.#bytes -= event.length;
        yield event;
      } else if (this.#ended) {
        if (this.#failure !== undefined) throw this.#failure;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #drop(): void {
    this.#queue = [];
    this.#bytes = 0;
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd(this);
    this.#wake?.();
  }
}
