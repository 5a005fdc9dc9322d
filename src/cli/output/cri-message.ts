import { type DescMessage, type JsonValue, type MessageShape, toJson } from "@bufbuild/protobuf";
import { stringify } from "yaml";

/** The option of every command that prints objects. */
export const outputFormats = ["table", "wide", "json", "yaml"] as const;

/** As one of them. */
export type OutputFormat = (typeof outputFormats)[number];

/**
 * A message of the CRI as JSON, in protobuf's own mapping: what crictl prints. Numbers of 64 bits
 * are strings, bytes are base64, and fields that are not set show their zero.
 */
export function messageToJson<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): JsonValue {
  return toJson(schema, message, { alwaysEmitImplicit: true });
}

/** JSON or YAML text of a value, with its newline. */
export function formatValue(value: JsonValue, format: "json" | "yaml"): string {
  return format === "json" ? `${JSON.stringify(value, undefined, 2)}\n` : stringify(value);
}

/**
 * The `info` of a verbose answer: each value is JSON in a string by convention, and what is none
 * stays the string that it is.
 */
export function readInfo(info: Readonly<Record<string, string>>): Record<string, JsonValue> {
  return Object.fromEntries(Object.entries(info).map(([key, text]) => [key, parseOr(text)]));
}

/** A member of a JSON object; undefined where the value is not an object, or has none of that name. */
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
