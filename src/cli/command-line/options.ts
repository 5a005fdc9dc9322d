/** The options of a call. */
export class Options {
  readonly #given: ReadonlyMap<string, readonly string[]>;
  readonly #usageError: (message: string) => Error;

  /**
   * `given` contains each option by name, with its values in order; a switch has none.
   * `usageError` makes the error for an invalid value.
   */
  constructor(
    given: ReadonlyMap<string, readonly string[]>,
    usageError: (message: string) => Error,
  ) {
    this.#usageError = usageError;
    this.#given = given;
  }

  /** Whether the option is set. */
  has(name: string): boolean {
    return this.#given.has(name);
  }

  /** The value; the last one if there are several. */
  text(name: string): string | undefined {
    return this.#given.get(name)?.at(-1);
  }

  /** All values, in order. */
  texts(name: string): readonly string[] {
    return this.#given.get(name) ?? [];
  }

  /** A value that is a whole number from 0 on. Throws a UsageError otherwise. */
  count(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (/^\d{1,15}$/.test(text)) return Number(text);
    throw this.invalid(name, `is "${text}": must be a whole number`);
  }

  /** A value that is a duration, in milliseconds. Throws a UsageError otherwise. */
  durationMs(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const ms = parseDurationMs(text);
    if (ms !== undefined) return ms;
    throw this.invalid(name, `is "${text}": must be a duration, such as 30s, 5m or 1h30m`);
  }

  /** Values of the form KEY=VALUE, as an object. Throws a UsageError otherwise. */
  pairs(name: string): Record<string, string> {
    const pairs: Record<string, string> = {};
    for (const text of this.texts(name)) {
      const at = text.indexOf("=");
      if (at < 1) throw this.invalid(name, `is "${text}": must be KEY=VALUE`);
      pairs[text.slice(0, at)] = text.slice(at + 1);
    }
    return pairs;
  }

  /** A value that is a regular expression. Throws a UsageError otherwise. */
  pattern(name: string): RegExp | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    try {
      return new RegExp(text);
    } catch {
      throw this.invalid(name, `is "${text}": must be a regular expression`);
    }
  }

  /** The error for a value that the command rejects. */
  invalid(name: string, problem: string): Error {
    return this.#usageError(`option "--${name}" ${problem}`);
  }
}

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Parses a duration: 500ms, 30s, 1h30m, or seconds without a unit; undefined if it is invalid. */
export function parseDurationMs(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  const parts = [...text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)];
  return parts.reduce((sum, [, n, unit]) => sum + Number(n) * (unitMs[unit ?? ""] ?? 0), 0);
}
