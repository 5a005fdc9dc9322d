// Checks of values that plugins set: what the kernel or the runtime would refuse later, with a worse message.

import { inspect } from "node:util";

/** Text for an error; never more than a line. */
export function shown(value: unknown): string {
  const isText = typeof value === "string";
  const text = isText ? JSON.stringify(value) : inspect(value, { breakLength: Infinity, depth: 0 });
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

/** A TypeError that names the setting, what it expects, and what it got. */
export function invalid(what: string, expected: string, value: unknown): TypeError {
  return new TypeError(`${what}: expected ${expected}, got ${shown(value)}`);
}

/** A string that has no NUL and, unless `empty` is true, at least one character. */
export function text(what: string, value: string, empty = false): string {
  // Plugins in JavaScript have no compiler that checks this.
  if (typeof (value as unknown) !== "string" || value.includes("\0")) {
    throw invalid(what, "text without NUL", value);
  }
  if (value === "" && !empty) throw invalid(what, "text that is not empty", value);
  return value;
}

/** A list of strings. */
export function texts(what: string, values: readonly string[]): string[] {
  if (!Array.isArray(values)) throw invalid(what, "a list of strings", values);
  return values.map((value: string, index) => text(`${what}[${index}]`, value, true));
}

/** A key: in NRI, a first "-" is the mark of a removal, so a key cannot begin with it. */
export function key(what: string, value: string): string {
  if (text(what, value).startsWith("-")) {
    throw invalid(what, 'a name that does not begin with "-", which removes it', value);
  }
  return value;
}

/** An absolute path. */
export function absolute(what: string, value: string): string {
  if (!text(what, value).startsWith("/")) throw invalid(what, "an absolute path", value);
  return value;
}

/** A whole number in the given range, both ends included. */
export function whole(
  what: string,
  value: number | bigint,
  low: number | bigint,
  high: number | bigint,
): bigint {
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!isWhole || value < low || value > high) {
    const range = `a whole number from ${low} to ${high}`;
    const hint = typeof value === "number" && value > Number.MAX_SAFE_INTEGER ? " (a bigint)" : "";
    throw invalid(what, range + hint, value);
  }
  return BigInt(value);
}

/** One of the given names. */
export function oneOf<T extends string>(what: string, value: T, names: readonly T[]): T {
  if (names.includes(value)) return value;
  throw new TypeError(`${what}: ${shown(value)} is not one of ${names.join(", ")}`);
}

/** Text that a pattern matches as a whole. */
export function matching(what: string, value: string, pattern: RegExp, expected: string): string {
  if (!pattern.test(text(what, value, true))) throw invalid(what, expected, value);
  return value;
}

/** A list of CPUs or memory nodes, as in cpuset(7). */
export function numbers(what: string, value: string): string {
  return matching(what, value, /^\d+(-\d+)?(,\d+(-\d+)?)*$/, 'a list such as "0-3,8"');
}

/** The largest values of the types on the wire. */
export const max = {
  int32: 2 ** 31 - 1,
  uint32: 2 ** 32 - 1,
  int64: 2n ** 63n - 1n,
  uint64: 2n ** 64n - 1n,
} as const;
