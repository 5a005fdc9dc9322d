/** The options that a command was called with. */
export class Options {
  readonly #given: ReadonlyMap<string, readonly string[]>;
  readonly #refuse: (message: string) => Error;

  /**
   * `given` has each option by its name: an empty list for a switch, else its values in order.
   * `refuse` makes the UsageError for what is wrong.
   */
  constructor(given: ReadonlyMap<string, readonly string[]>, refuse: (message: string) => Error) {
    this.#refuse = refuse;
    this.#given = given;
  }

  /** True when the option is there. */
  has(name: string): boolean {
    return this.#given.has(name);
  }

  /** The value; the last one where several were given. */
  text(name: string): string | undefined {
    return this.#given.get(name)?.at(-1);
  }

  /** All values, in order. */
  texts(name: string): readonly string[] {
    return this.#given.get(name) ?? [];
  }

  /** A value that is a whole number, zero or more. Throws a UsageError for anything else. */
  count(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (/^\d{1,15}$/.test(text)) return Number(text);
    throw this.wrong(name, `is "${text}": want a whole number`);
  }

  /** A value that is a time. Milliseconds. Throws a UsageError for anything else. */
  durationMs(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const ms = parseDurationMs(text);
    if (ms !== undefined) return ms;
    throw this.wrong(name, `is "${text}": want a time, as 30s, 5m or 1h30m`);
  }

  /** Values of the form KEY=VALUE, as an object. Throws a UsageError for anything else. */
  pairs(name: string): Record<string, string> {
    const pairs: Record<string, string> = {};
    for (const text of this.texts(name)) {
      const at = text.indexOf("=");
      if (at < 1) throw this.wrong(name, `is "${text}": want KEY=VALUE`);
      pairs[text.slice(0, at)] = text.slice(at + 1);
    }
    return pairs;
  }

  /** A value that is a regular expression. Throws a UsageError for anything else. */
  pattern(name: string): RegExp | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    try {
      return new RegExp(text);
    } catch {
      throw this.wrong(name, `is "${text}": that is no regular expression`);
    }
  }

  /** The error for an option that is wrong in a way that only the command knows. */
  wrong(name: string, problem: string): Error {
    return this.#refuse(`option "--${name}" ${problem}`);
  }
}

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** A time as people write it: 500ms, 30s, 1h30m, or seconds without a unit; undefined for others. */
export function parseDurationMs(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  const parts = [...text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)];
  return parts.reduce((sum, [, n, unit]) => sum + Number(n) * (unitMs[unit ?? ""] ?? 0), 0);
}
