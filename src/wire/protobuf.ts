// Messages of protobuf as davit reads them. What a peer sends is bounded twice: by its bytes, before
// they are read, and here by what decoding makes of them, which can be a hundred times as much.
import {
  type DescField,
  type DescMessage,
  fromBinary,
  type MessageShape,
  ScalarType,
} from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { isKind, messageOf, RuntimeError } from "../base/errors.ts";

/**
 * What a message may cost: one for each field and list item on the wire, and for each message in it
 * as many as its type has fields. One takes up to 60 bytes and 0.3 us. A container with 50,000
 * environment variables costs 250,000.
 */
export const maxMessageCost = 500_000;

/** A smaller message cannot cost too much: the dearest two bytes of the CRI are an empty Mount, at 11. */
export const freeBytes = 64 * 1024;

const options = { readUnknownFields: false };

/** Deeper messages are refused by the decoder (`recursionLimit`). */
const maxDepth = 100;

/**
 * The message that `bytes` hold. Fields that the schema does not have are dropped: what must keep them
 * keeps the bytes.
 *
 * @throws RuntimeError `data-loss` when they hold none.
 */
export function decodeMessage<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
): MessageShape<D> {
  try {
    return fromBinary(schema, bytes, options);
  } catch (cause) {
    throw noMessage(schema, messageOf(cause), cause);
  }
}

/**
 * The same for bytes that another process chose.
 *
 * @throws RuntimeError also `resource-exhausted` when the message has so many fields that decoding it
 *   would take too much memory and hold up every other call.
 */
export function decodeBounded<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
): MessageShape<D> {
  if (bytes.length > freeBytes) checkCost(schema, bytes);
  return decodeMessage(schema, bytes);
}

/**
 * The request of a method.
 *
 * @throws RuntimeError `invalid-argument` when it is none, `resource-exhausted` as `decodeBounded()`.
 */
export function decodeRequest<D extends DescMessage>(
  method: { readonly name: string; readonly input: D },
  bytes: Uint8Array,
): MessageShape<D> {
  try {
    return decodeBounded(method.input, bytes);
  } catch (cause) {
    const kind = isKind(cause, "resource-exhausted") ? "resource-exhausted" : "invalid-argument";
    throw new RuntimeError(kind, `read ${method.name}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * The bytes of the message in field `number` of the message that `bytes` hold; none for an absent field.
 * Where the field comes repeatedly, the last values of its fields count, as protobuf has it.
 */
export function embeddedMessage(bytes: Uint8Array, number: number): Uint8Array {
  const reader = new BinaryReader(bytes);
  const parts: Uint8Array[] = [];
  while (reader.pos < bytes.length) {
    const [found, wireType] = reader.tag();
    if (found === number && wireType === WireType.LengthDelimited) parts.push(reader.bytes());
    else reader.skip(wireType, found);
  }
  return Buffer.concat(parts);
}

function noMessage(schema: DescMessage, why: string, cause?: unknown): RuntimeError {
  return new RuntimeError("data-loss", `this is not a ${schema.typeName}: ${why}`, { cause });
}

function checkCost(schema: DescMessage, bytes: Uint8Array): void {
  try {
    new Bill(new BinaryReader(bytes)).message(schema, bytes.length, 0);
  } catch (error) {
    if (error instanceof RuntimeError) throw error;
    // It is no message. The decoder says what is wrong, and gets no further than this.
  }
}

/** Walks over a message as the decoder does, and makes nothing. */
class Bill {
  readonly #reader: BinaryReader;
  #left = maxMessageCost;

  constructor(reader: BinaryReader) {
    this.#reader = reader;
  }

  message(schema: DescMessage, bytes: number, depth: number): void {
    if (depth > maxDepth) throw new Error("too deep");
    const fields = fieldsOf(schema);
    const end = this.#reader.pos + bytes;
    this.#pay(schema, fields.size);
    while (this.#reader.pos < end) {
      const [number, wireType] = this.#reader.tag();
      this.#pay(schema, 1);
      const field = fields.get(number);
      if (field === undefined) this.#skipUnknown(schema, number, wireType);
      else this.#field(field, wireType, depth);
    }
  }

  /** A known field is read as its type has it, whatever wire type it came with: so does the decoder. */
  #field(field: DescField, wireType: WireType, depth: number): void {
    if (field.fieldKind === "map") this.#mapEntry(field, depth);
    else if (field.message !== undefined) {
      this.message(field.message, this.#reader.uint32(), depth + 1);
    } else if (field.fieldKind === "list" && wireType === WireType.LengthDelimited) {
      this.#items(field);
    } else this.#scalar(field);
  }

  /** A string or bytes, or numbers that are packed. */
  #items(field: DescField & { readonly fieldKind: "list" }): void {
    const itemType = wireTypeOfScalar(field.scalar);
    // Strings and bytes are never packed.
    if (itemType === WireType.LengthDelimited) {
      this.#scalar(field);
      return;
    }
    const end = this.#reader.uint32() + this.#reader.pos;
    while (this.#reader.pos < end) {
      this.#reader.skip(itemType);
      this.#pay(field.parent, 1);
    }
  }

  #mapEntry(field: DescField & { readonly fieldKind: "map" }, depth: number): void {
    const end = this.#reader.uint32() + this.#reader.pos;
    while (this.#reader.pos < end) {
      const [number, wireType] = this.#reader.tag();
      this.#pay(field.parent, 1);
      if (number === 1) this.#reader.skip(wireTypeOfScalar(field.mapKey));
      else if (number !== 2) this.#skipUnknown(field.parent, number, wireType);
      else if (field.message === undefined) this.#scalar(field);
      else this.message(field.message, this.#reader.uint32(), depth + 1);
    }
  }

  #scalar(field: DescField): void {
    this.#reader.skip(wireTypeOfScalar(field.scalar));
  }

  #skipUnknown(schema: DescMessage, number: number, wireType: WireType): void {
    if (wireType === WireType.StartGroup) {
      throw noMessage(schema, `field ${number} is a group, which proto3 does not have`);
    }
    this.#reader.skip(wireType, number);
  }

  #pay(schema: DescMessage, cost: number): void {
    this.#left -= cost;
    if (this.#left >= 0) return;
    throw new RuntimeError(
      "resource-exhausted",
      `${schema.typeName} has too many fields and list items: send fewer of them`,
    );
  }
}

const fieldsByNumber = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

function fieldsOf(schema: DescMessage): ReadonlyMap<number, DescField> {
  let fields = fieldsByNumber.get(schema);
  if (fields === undefined) {
    fields = new Map(schema.fields.map((field) => [field.number, field]));
    fieldsByNumber.set(schema, fields);
  }
  return fields;
}

const wireTypes: Partial<Record<ScalarType, WireType>> = {
  [ScalarType.STRING]: WireType.LengthDelimited,
  [ScalarType.BYTES]: WireType.LengthDelimited,
  [ScalarType.DOUBLE]: WireType.Bit64,
  [ScalarType.FIXED64]: WireType.Bit64,
  [ScalarType.SFIXED64]: WireType.Bit64,
  [ScalarType.FLOAT]: WireType.Bit32,
  [ScalarType.FIXED32]: WireType.Bit32,
  [ScalarType.SFIXED32]: WireType.Bit32,
};

/** All others are varints, and so are the values of an enum. */
function wireTypeOfScalar(scalar: ScalarType | undefined): WireType {
  return (scalar === undefined ? undefined : wireTypes[scalar]) ?? WireType.Varint;
}
