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

/** A file of one number. "max" (v2) is not a number. */
export function number(text: string | null | undefined): bigint | undefined {
  const digits = text?.trim() ?? "";
  return /^\d+$/.test(digits) ? BigInt(digits) : undefined;
}

/** The number on the line that begins with `name`, of a flat keyed file. */
export function field(text: string | null | undefined, name: string): bigint | undefined {
  if (text === null || text === undefined) return undefined;
  const key = `${name} `;
  const at = text.startsWith(key) ? 0 : text.indexOf(`\n${key}`) + 1;
  if (at === 0 && !text.startsWith(key)) return undefined;
  const end = text.indexOf("\n", at);
  return number(text.slice(at + key.length, end < 0 ? undefined : end));
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
