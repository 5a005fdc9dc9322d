import { isDeepStrictEqual } from "node:util";
import type { Config } from "./config.ts";
import { tomlKey } from "./schema.ts";

/** The keys whose values differ between two configurations, as the file writes them: `log.level`. */
export function changedKeys(before: Config, after: Config): readonly string[] {
  return [...changed(before, after, "")];
}

function* changed(before: object, after: object, prefix: string): Iterable<string> {
  const others = new Map<string, unknown>(Object.entries(after));
  for (const [field, value] of Object.entries(before) as [string, unknown][]) {
    const [key, other] = [`${prefix}${tomlKey(field)}`, others.get(field)];
    // The names of handlers and headers are not fields.
    if (isSection(value) && isSection(other) && field !== "handlers" && field !== "headers") {
      yield* changed(value, other, `${key}.`);
    } else if (!isDeepStrictEqual(value, other)) yield key;
  }
}

function isSection(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
