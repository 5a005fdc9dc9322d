// Messages that are put together from parts which are encoded already: encoding an object once
// and answering lists by concatenation is what keeps polling cheap.
import { BinaryWriter } from "@bufbuild/protobuf/wire";

/** The bytes of the length-delimited field `number` with `message` in it. */
export function messageField(number: number, message: Uint8Array): Uint8Array {
  // Wire type 2, protobuf encoding guide, "Length-Delimited Records".
  return new BinaryWriter()
    .uint32((number << 3) | 2)
    .bytes(message)
    .finish();
}

/** The bytes of the int64 field `number`. */
export function int64Field(number: number, value: bigint): Uint8Array {
  return new BinaryWriter()
    .uint32(number << 3)
    .int64(value)
    .finish();
}

/** One message from the bytes of its fields (repeated fields concatenate, so do all others). */
export function joinFields(fields: readonly Uint8Array[]): Uint8Array {
  return fields.length === 1 ? (fields[0] ?? new Uint8Array()) : Buffer.concat(fields);
}

/**
 * Like joinFields(), for bytes that are kept: in memory of their own. What Buffer makes of small
 * pieces lies in slabs of 64 KiB, each of which stays as long as any piece of it is kept.
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
