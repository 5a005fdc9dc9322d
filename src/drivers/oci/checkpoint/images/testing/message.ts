import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

export type Value = number | bigint | string | Uint8Array;

/** A protobuf message of fields, each of which may occur several times. */
export function message(...fields: readonly (readonly [number, Value])[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const [field, value] of fields) {
    if (typeof value === "number" || typeof value === "bigint") {
      writer.tag(field, WireType.Varint).uint64(value);
    } else if (typeof value === "string") writer.tag(field, WireType.LengthDelimited).string(value);
    else writer.tag(field, WireType.LengthDelimited).bytes(value);
  }
  return writer.finish();
}
