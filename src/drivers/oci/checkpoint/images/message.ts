import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

import { type ImageKind, invalid } from "./image-file.ts";

const maxFields = 65_536;

/**
 * The fields of a protobuf message of a CRIU image, without its schema: CRIU's messages are proto2, in which what is
 * not known here may be skipped, and the last value of a field counts.
 */
export class ImageMessage {
  readonly #kind: ImageKind;
  readonly #numbers = new Map<number, bigint[]>();
  readonly #bytes = new Map<number, Uint8Array[]>();

  /** Throws `invalid-argument` for bytes that are not a message. */
  constructor(kind: ImageKind, bytes: Uint8Array) {
    this.#kind = kind;
    try {
      this.#read(new BinaryReader(bytes));
    } catch {
      throw invalid(kind, "an entry is damaged");
    }
  }

  #read(reader: BinaryReader): void {
    for (let count = 0; reader.pos < reader.len; count++) {
      if (count >= maxFields) throw new RangeError("too many fields");
      const [field, type] = reader.tag();
      if (type === WireType.Varint) add(this.#numbers, field, BigInt(reader.uint64()));
      else if (type === WireType.LengthDelimited) add(this.#bytes, field, reader.bytes());
      else reader.skip(type, field);
    }
  }

  /** A uint32 or an enum, as CRIU reads it: the lowest 32 bits. Undefined if it is not set. */
  number(field: number): number | undefined {
    const value = this.#numbers.get(field)?.at(-1);
    return value === undefined ? undefined : u32(value);
  }

  flag(field: number): boolean {
    return (this.#numbers.get(field)?.at(-1) ?? 0n) !== 0n;
  }

  /** All values of a repeated field, packed or not. */
  numbers(field: number): readonly number[] {
    const packed = (this.#bytes.get(field) ?? []).flatMap((bytes) => {
      const reader = new BinaryReader(bytes);
      const values: number[] = [];
      try {
        while (reader.pos < reader.len) values.push(u32(BigInt(reader.uint64())));
      } catch {
        throw invalid(this.#kind, "a list of numbers is damaged");
      }
      return values;
    });
    return [...(this.#numbers.get(field) ?? []).map(u32), ...packed];
  }

  /** Bytes that are not UTF-8 become U+FFFD. */
  text(field: number): string | undefined {
    const bytes = this.#bytes.get(field)?.at(-1);
    return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
  }

  /** A message in a field that is not repeated. NOTE(protobuf): several of them are one whose fields are merged. */
  message(field: number): ImageMessage | undefined {
    const parts = this.#bytes.get(field);
    return parts && new ImageMessage(this.#kind, Buffer.concat(parts));
  }

  messages(field: number): readonly ImageMessage[] {
    return (this.#bytes.get(field) ?? []).map((bytes) => new ImageMessage(this.#kind, bytes));
  }
}

function u32(value: bigint): number {
  return Number(BigInt.asUintN(32, value));
}

function add<T>(map: Map<number, T[]>, field: number, value: T): void {
  const values = map.get(field);
  if (values === undefined) map.set(field, [value]);
  else values.push(value);
}
