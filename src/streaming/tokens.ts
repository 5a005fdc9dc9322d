import { randomBytes } from "node:crypto";
import { RuntimeError } from "../base/errors.ts";
import type { Clock } from "../base/time.ts";

/** How long a token is valid. */
export const tokenLifeMs = 60_000;
/** The number of unused tokens. The kubelet uses each token at once. */
export const maxTokens = 1000;

// 128 bits, so that tokens cannot be guessed (containerd and CRI-O use 48).
const tokenBytes = 16;

/** Values for clients with tokens. A token is valid once, for one minute. */
export class Tokens<T> {
  readonly #clock: Clock;
  // Oldest first, because all are valid for the same time.
  readonly #entries = new Map<string, { readonly value: T; readonly until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A new token for `value`; `resource-exhausted` when there are too many unused ones. */
  add(value: T): string {
    this.#removeExpired();
    if (this.#entries.size >= maxTokens) {
      const why = `there are ${maxTokens} unused addresses; try again in a minute`;
      throw new RuntimeError("resource-exhausted", `create a streaming address: ${why}`);
    }
    const token = randomBytes(tokenBytes).toString("base64url");
    this.#entries.set(token, { value, until: this.#clock.nowMs() + tokenLifeMs });
    return token;
  }

  /** The value of a token; undefined when the token was used, has expired or never existed. */
  take(token: string): T | undefined {
    this.#removeExpired();
    const entry = this.#entries.get(token);
    this.#entries.delete(token);
    return entry?.value;
  }

  #removeExpired(): void {
    const now = this.#clock.nowMs();
    for (const [token, { until }] of this.#entries) {
      if (until > now) return;
      this.#entries.delete(token);
    }
  }
}
