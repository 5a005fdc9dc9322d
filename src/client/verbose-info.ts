import type { JsonValue } from "@bufbuild/protobuf";

/**
 * The `info` of a verbose response. By convention each value is a string with JSON; other
 * strings stay unchanged.
 */
export function readInfo(info: Readonly<Record<string, string>>): Record<string, JsonValue> {
  return Object.fromEntries(Object.entries(info).map(([key, text]) => [key, parseOr(text)]));
}

/** A member of a JSON object; undefined if the value is not an object or has no such member. */
export function member(value: JsonValue | undefined, name: string): JsonValue | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return value[name];
}

function parseOr(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return text;
  }
}
