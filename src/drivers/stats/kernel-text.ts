import type { Pressure, PressureTimes } from "../../core/stats/index.ts";

/** The texts of files; null for one that could not be read. */
export type Texts = readonly (string | null)[];

/**
 * v1's LONG_MAX rounded down to a page, and v2's "max", mean no limit. The bound is far below
 * either and far above any memory.
 */
export const unlimited = 1n << 62n;

/** The counters of different files are not of one instant, so a difference can fall below zero. */
export function left(whole: bigint, part: bigint): bigint {
  return whole > part ? whole - part : 0n;
}

/** What `make` returns for the value, undefined without a value. */
export function withValue<T>(value: bigint | undefined, make: (value: bigint) => T): T | undefined {
  return value === undefined ? undefined : make(value);
}

/** The same for a file of one number. */
export function withNumber<T>(
  text: string | null | undefined,
  make: (value: bigint) => T,
): T | undefined {
  return withValue(number(text), make);
}

// A node with 200 pods has 10,000 numbers in 2,600 files, so no string is made of a number or a line.

/** A file of one number. "max" (v2) is not a number. */
export function number(text: string | null | undefined): bigint | undefined {
  return text === null || text === undefined ? undefined : decimal(text, 0, text.length);
}

/** The number on the line that begins with `name`, of a flat keyed file. */
export function field(text: string | null | undefined, name: string): bigint | undefined {
  if (text === null || text === undefined) return undefined;
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    const after = at + name.length;
    if (at > 0 && text.charCodeAt(at - 1) !== code.newline) continue;
    if (text.charCodeAt(after) !== code.space) continue;
    const end = text.indexOf("\n", after);
    return decimal(text, after, end < 0 ? text.length : end);
  }
  return undefined;
}

const code = { newline: 10, space: 32, zero: 48 } as const;
/** Of any number with so many digits, a double is exact. */
const exactDigits = 15;

/** The number between two places of the text, with white space around it. Undefined for anything else. */
export function decimal(text: string, from: number, to: number): bigint | undefined {
  let [first, end] = [from, to];
  while (first < end && text.charCodeAt(first) <= code.space) first++;
  while (first < end && text.charCodeAt(end - 1) <= code.space) end--;
  if (first === end) return undefined;
  let value = 0;
  for (let at = first; at < end; at++) {
    const digit = text.charCodeAt(at) - code.zero;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return end - first <= exactDigits ? BigInt(value) : BigInt(text.slice(first, end));
}

/** Undefined where the kernel has no PSI: the file is missing, or reading it is refused. */
export function pressureOf(text: string | null | undefined): Pressure | undefined {
  if (text === null || text === undefined) return undefined;
  const some = pressureTimes(text, "some");
  const full = pressureTimes(text, "full");
  return some === undefined && full === undefined ? undefined : { some, full };
}

function pressureTimes(text: string, kind: "some" | "full"): PressureTimes | undefined {
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${kind} `));
  const [, avg10, avg60, avg300, totalUs] =
    /avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)/.exec(line ?? "") ?? [];
  if (totalUs === undefined) return undefined;
  return {
    avg10: Number(avg10),
    avg60: Number(avg60),
    avg300: Number(avg300),
    totalNs: BigInt(totalUs) * 1000n,
  };
}
