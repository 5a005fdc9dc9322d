import type { Options } from "../command-line/options.ts";

// docker's units are powers of 1024.
const units: Readonly<Record<string, string>> = { b: "", k: "Ki", m: "Mi", g: "Gi", t: "Ti" };

/** A size of docker (64m, 1g, 512kb) or Kubernetes (64Mi) as a Kubernetes quantity. Throws a UsageError otherwise. */
export function sizeQuantity(options: Options, name: string, text: string): string {
  if (/^\d+([KMGT]i)?$/.test(text)) return text;
  const [, number, unit] = /^(\d+(?:\.\d+)?)([bkmgt])b?$/i.exec(text) ?? [];
  if (number !== undefined && unit !== undefined)
    return `${number}${units[unit.toLowerCase()] ?? ""}`;
  throw options.invalid(name, `has "${text}": must be a size, such as 64m, 1g or 512Mi`);
}
