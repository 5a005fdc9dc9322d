import type { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import type { NodeEvent } from "./node-event.ts";
import { Readers } from "./readers.ts";
import type { QueueLimits, Subscription } from "./subscription.ts";

interface Parts {
  /** Encodes an event, once for all readers. */
  readonly encode: (event: NodeEvent, atNs: bigint) => Uint8Array;
  readonly limits: QueueLimits;
  readonly clock: Pick<Clock, "nowNs">;
  readonly log: Logger;
}

/** What happens on the node besides the changes of containers and sandboxes, for any number of readers. */
export class NodeEvents {
  readonly #parts: Parts;
  readonly #readers: Readers;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#readers = new Readers(parts.limits, parts.log);
  }

  /** Reports an event that has happened. Does nothing without readers. Never throws. */
  readonly publish = (event: NodeEvent): void => {
    if (this.#readers.size === 0) return;
    const { encode, clock } = this.#parts;
    this.#readers.push(encode(event, clock.nowNs()));
  };

  /** Begins to collect events for a reader, which must dispose of the result. Throws the error of close() after it. */
  subscribe(): Subscription {
    return this.#readers.add();
  }

  /** Ends all subscriptions with this error, after the events that wait for them. */
  close(error: RuntimeError): void {
    this.#readers.close(error);
  }
}
