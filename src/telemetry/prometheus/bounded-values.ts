/** What replaces the values beyond the limit. */
const otherValue = "other";

/**
 * Bounds the values of a label that clients or files can choose: the first `limit` different values stay as they are,
 * all later ones become "other". So no client can make the registry grow.
 */
export class BoundedValues {
  readonly #limit: number;
  readonly #known = new Set<string>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  has(value: string): boolean {
    return this.#known.has(value);
  }

  /** The value itself, or "other". */
  of(value: string): string {
    if (this.#known.has(value)) return value;
    if (this.#known.size >= this.#limit) return otherValue;
    this.#known.add(value);
    return value;
  }
}
