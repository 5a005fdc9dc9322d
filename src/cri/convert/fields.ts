// Builds messages from parts that are encoded already. Polling is cheap because objects are encoded once
// and lists are concatenated.
import { BinaryWriter } from "@bufbuild/protobuf/wire";

/** The bytes of the length-delimited field `number` with the value `message`. */
export function messageField(number: number, message: Uint8Array): Uint8Array {
  // Wire type 2, protobuf encoding guide, "Length-Delimited Records".
  return new BinaryWriter()
    .uint32((number << 3) | 2)
    .bytes(message)
    .finish();
}

/** A copy of a length-delimited field under another number. Both numbers are below 16: their tags are one byte. */
export function renumberedField(number: number, field: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(field);
  copy[0] = (number << 3) | 2;
  return copy;
}

/** The bytes of the int64 field `number`. */
export function int64Field(number: number, value: bigint): Uint8Array {
  return new BinaryWriter()
    .uint32(number << 3)
    .int64(value)
    .finish();
}

/** Concatenates the bytes of the fields of a message. */
export function joinFields(fields: readonly Uint8Array[]): Uint8Array {
  return fields.length === 1 ? (fields[0] ?? new Uint8Array()) : Buffer.concat(fields);
}

/**
 * Like joinFields(), for bytes that are cached: they have their own memory. Small Buffers share slabs of
 * 64 KiB, and a slab is not freed while one of its Buffers is in use.
 */
export function keptFields(fields: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(fields.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const field of fields) {
    joined.set(field, at);
    at += field.length;
  }
  return joined;
}
