import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import {
  isReflectList,
  isReflectMap,
  isReflectMessage,
  type ReflectMessage,
  reflect,
} from "@bufbuild/protobuf/reflect";
import { rawJSON } from "../../base/raw-json.ts";

/**
 * Encodes a message like Go's encoding/json encodes its struct. containerd's verbose info has this format,
 * and programs rely on it: fields have their protocol names, empty fields are left out, and numbers and
 * enums are JSON numbers, including 64-bit ones. The JSON format of protobuf differs: it has 64-bit
 * numbers and enums as strings.
 *
 * Bytes occur only as values of environment variables. They become text, with U+FFFD for invalid UTF-8,
 * as in KeyValue.MarshalJSON of cri-api.
 */
export function goJson<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): object {
  return ofMessage(reflect(schema, message));
}

function ofMessage(message: ReflectMessage): object {
  const fields = message.fields.filter((field) => message.isSet(field));
  return Object.fromEntries(fields.map((field) => [field.name, ofValue(message.get(field))]));
}

/** `value` is a scalar, or the reflection of a message, a list or a map. */
function ofValue(value: unknown): unknown {
  if (typeof value === "bigint") return rawJSON(value.toString());
  if (value instanceof Uint8Array) return Buffer.from(value).toString("utf8");
  if (isReflectMessage(value)) return ofMessage(value);
  if (isReflectList(value)) return [...value].map(ofValue);
  if (!isReflectMap(value)) return value;
  return Object.fromEntries([...value].map(([key, item]) => [String(key), ofValue(item)]));
}
