import { type DescMessage, type JsonValue, type MessageShape, toJson } from "@bufbuild/protobuf";
import { stringify } from "yaml";

export { member, readInfo } from "../../client/verbose-info.ts";

/** The values of --output. */
export const outputFormats = ["table", "wide", "json", "yaml"] as const;

/** A value of --output. */
export type OutputFormat = (typeof outputFormats)[number];

/**
 * A message of the CRI in the JSON mapping of protobuf, as crictl prints it. 64-bit numbers
 * are strings, bytes are base64, and unset fields have their zero values.
 */
export function messageToJson<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): JsonValue {
  return toJson(schema, message, { alwaysEmitImplicit: true });
}

/** A value as JSON or YAML, with a newline at the end and without raw control characters, which are escaped. */
export function formatValue(value: JsonValue, format: "json" | "yaml"): string {
  return withoutControls(
    format === "json" ? `${JSON.stringify(value, undefined, 2)}\n` : stringify(value),
  );
}

/** A value as one line of JSON. Control characters are escaped. */
export function formatJsonLine(value: JsonValue): string {
  return withoutControls(`${JSON.stringify(value)}\n`);
}

/** JSON and YAML escape C0 controls, but neither DEL nor C1 controls, which only occur in quoted strings. */
function withoutControls(text: string): string {
  return text.replace(
    /[\u007f-\u009f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
