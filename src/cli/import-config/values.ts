/** Conversions of values. Each returns undefined for what it does not understand. */

const unitSeconds: Readonly<Record<string, number>> = {
  h: 3600,
  m: 60,
  s: 1,
  ms: 1e-3,
  us: 1e-6,
  µs: 1e-6,
  ns: 1e-9,
};

/** A duration of Go ("4h0m0s", "1.5s") in whole seconds, rounded up. */
export function secondsOf(value: unknown): bigint | undefined {
  if (typeof value !== "string" || value.length > 64) return undefined;
  if (!/^(\d+(\.\d+)?(h|m|s|ms|us|µs|ns))+$/.test(value)) return value === "0" ? 0n : undefined;
  let seconds = 0;
  for (const [, count = "", , unit = ""] of value.matchAll(/(\d+(\.\d+)?)(ms|us|µs|ns|h|m|s)/g)) {
    seconds += Number(count) * (unitSeconds[unit] ?? 0);
  }
  return BigInt(Math.ceil(seconds));
}

/** A size in bytes, as containers/storage writes it: "10G", "512M", 1024. */
export function bytesOf(value: unknown): bigint | undefined {
  if (typeof value === "bigint") return value;
  const match = typeof value === "string" ? /^(\d{1,12})([kmgt]?)i?b?$/i.exec(value) : null;
  if (match === null) return undefined;
  const power = ["", "k", "m", "g", "t"].indexOf((match[2] ?? "").toLowerCase());
  return BigInt(match[1] ?? "") * 1024n ** BigInt(power);
}

/** A number in digits, or an integer. */
export function integerOf(value: unknown): bigint | undefined {
  if (typeof value === "bigint") return value;
  return typeof value === "string" && /^\d{1,15}$/.test(value) ? BigInt(value) : undefined;
}

/** A path without a trailing slash. */
export function pathOf(value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  return value.length > 1 ? value.replace(/\/+$/, "") : value;
}

export function pathsOf(value: unknown): readonly string[] | undefined {
  const paths = Array.isArray(value) ? value.map(pathOf) : undefined;
  return paths?.every((item) => item !== undefined) === true ? paths : undefined;
}

export function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

/** A level of logrus as one of davit's. */
export function logLevelOf(value: unknown): string | undefined {
  const levels: Readonly<Record<string, string>> = {
    trace: "debug",
    debug: "debug",
    info: "info",
    warn: "warn",
    warning: "warn",
    error: "error",
    fatal: "error",
    panic: "error",
  };
  return typeof value === "string" ? levels[value.toLowerCase()] : undefined;
}

export function not(value: unknown): boolean | undefined {
  return typeof value === "boolean" ? !value : undefined;
}
