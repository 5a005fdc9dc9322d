import { randomBytes } from "node:crypto";
import { RuntimeError } from "../base/errors.ts";
import type { Clock } from "../base/time.ts";

/** How long a token waits to be used. */
export const tokenLifeMs = 60_000;
/** How many may wait. The kubelet uses each at once. */
export const maxTokens = 1000;

// 128 bits: nobody finds one by trying (containerd and CRI-O have 48).
const tokenBytes = 16;

/** What waits for clients under tokens that are good once, for one minute. */
export class Tokens<T> {
  readonly #clock: Clock;
  // Oldest first: all live equally long.
  readonly #waiting = new Map<string, { readonly value: T; readonly until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A new token for `value`; `resource-exhausted` when too many wait. */
  add(value: T): string {
    this.#forgetLate();
    if (this.#waiting.size >= maxTokens) {
      const why = `${maxTokens} connections were asked for and not made; try again in a minute`;
      throw new RuntimeError("resource-exhausted", `hand out a streaming address: ${why}`);
    }
    const token = randomBytes(tokenBytes).toString("base64url");
    this.#waiting.set(token, { value, until: this.#clock.nowMs() + tokenLifeMs });
    return token;
  }

  /** What the token stands for; undefined when it was used, is late or never was. */
  take(token: string): T | undefined {
    this.#forgetLate();
    const entry = this.#waiting.get(token);
    this.#waiting.delete(token);
    return entry?.value;
  }

  #forgetLate(): void {
    const now = this.#clock.nowMs();
    for (const [token, { until }] of this.#waiting) {
      if (until > now) return;
      this.#waiting.delete(token);
    }
  }
}
