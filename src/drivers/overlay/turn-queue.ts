/** What is known of a pull whose layer is unpacked. Its layers share one object. */
export interface PullSize {
  /** Bytes that the pull has yet to get. */
  readonly bytesLeft: number;
}

/** One that waits for a turn. */
export interface WaitingTurn<Permit> {
  readonly enter: (permit: Permit) => void;
  /** Also a turn for small blobs will do. */
  readonly isSmall: boolean;
  /** Undefined where no client waits for it: then it has no precedence. */
  readonly pull: PullSize | undefined;
  readonly sinceMs: number;
}

/**
 * Those that wait for a turn to unpack, and which of them is next: the one whose pull has the fewest bytes left, so that
 * a small image is not stuck behind a large one. One that has waited for `patienceMs` comes before all
 * others, so that large images make progress, too.
 */
export class TurnQueue<Permit> {
  readonly #patienceMs: number;
  readonly #waiting: WaitingTurn<Permit>[] = [];

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** `first`: before others that are equal. */
  add(waiting: WaitingTurn<Permit>, where: "first" | "last"): void {
    if (where === "first") this.#waiting.unshift(waiting);
    else this.#waiting.push(waiting);
  }

  /** False for one that is not in the queue any more. */
  remove(waiting: WaitingTurn<Permit>): boolean {
    const at = this.#waiting.indexOf(waiting);
    if (at >= 0) this.#waiting.splice(at, 1);
    return at >= 0;
  }

  /** Takes out the next one of those that `mayEnter`. */
  next(
    nowMs: number,
    mayEnter: (waiting: WaitingTurn<Permit>) => boolean,
  ): WaitingTurn<Permit> | undefined {
    let best: WaitingTurn<Permit> | undefined;
    for (const waiting of this.#waiting) {
      if (!mayEnter(waiting)) continue;
      if (best === undefined || this.#isBefore(waiting, best, nowMs)) best = waiting;
    }
    if (best !== undefined) this.remove(best);
    return best;
  }

  /**
   * Whether a running turn of this pull is to let another pull run: one with less than half of its bytes left, or
   * one that has run out of patience.
   */
  overtakes(pull: PullSize | undefined, nowMs: number): boolean {
    if (pull === undefined) return false;
    return this.#waiting.some(({ pull: other, sinceMs }) => {
      if (other === undefined || other === pull) return false;
      return this.#isOverdue(sinceMs, nowMs) || other.bytesLeft < pull.bytesLeft / 2;
    });
  }

  #isBefore(one: WaitingTurn<Permit>, other: WaitingTurn<Permit>, nowMs: number): boolean {
    const [isOverdue, isOtherOverdue] = [one, other].map(({ sinceMs }) =>
      this.#isOverdue(sinceMs, nowMs),
    );
    if (isOverdue !== isOtherOverdue) return isOverdue === true;
    if (isOverdue === true) return one.sinceMs < other.sinceMs;
    return leftOf(one) < leftOf(other);
  }

  #isOverdue(sinceMs: number, nowMs: number): boolean {
    return nowMs - sinceMs >= this.#patienceMs;
  }
}

function leftOf({ pull }: { readonly pull: PullSize | undefined }): number {
  return pull?.bytesLeft ?? Number.POSITIVE_INFINITY;
}
