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
 * A message as Go's encoding/json writes its struct, which is what containerd has in its verbose info
 * and what programs read that were written for it: fields by their names in the protocol, without
 * those that are empty, numbers and enums as numbers, also 64-bit ones. That is not the JSON of
 * protobuf, which has 64-bit numbers and enums as strings.
 *
 * Bytes, which only the values of environment variables are, become text with U+FFFD for what is not
 * UTF-8, as KeyValue.MarshalJSON of cri-api has it.
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

/** `value` is a scalar, or what reflection gives for a message, a list or a map. */
function ofValue(value: unknown): unknown {
  if (typeof value === "bigint") return rawJSON(value.toString());
  if (value instanceof Uint8Array) return Buffer.from(value).toString("utf8");
  if (isReflectMessage(value)) return ofMessage(value);
  if (isReflectList(value)) return [...value].map(ofValue);
  if (!isReflectMap(value)) return value;
  return Object.fromEntries([...value].map(([key, item]) => [String(key), ofValue(item)]));
}
