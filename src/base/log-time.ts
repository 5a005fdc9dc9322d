/** A time in the format of CRI logs: RFC 3339 with nine digits of a second, in UTC. */
export function formatLogTime(ns: bigint): string {
  const seconds = new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, "0")}Z`;
}

const logTime = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** A time of a CRI log in nanoseconds since 1970; undefined if it is malformed or before 1970. */
export function parseLogTime(text: string): bigint | undefined {
  const [, seconds = "", fraction = "", zone = ""] = logTime.exec(text) ?? [];
  const ms = Date.parse(`${seconds}${zone}`);
  if (!(ms >= 0)) return undefined;
  return BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}
