// Decoding of protobuf messages. A message of a peer has two limits: its bytes, before it is read,
// and here the memory that decoding needs, which can be a hundred times as much.
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
 * The limit of the cost of a message: one for each field and list item on the wire, and for each message in it
 * as many as its type has fields. One unit takes up to 60 bytes and 0.3 us. A container with 50,000
 * environment variables costs 250,000.
 */
export const maxMessageCost = 500_000;

/**
 * A smaller message cannot cost too much: the most expensive two bytes in CRI are an empty ContainerConfig (of
 * RestorePod), which costs 19.
 */
export const uncheckedBytes = 48 * 1024;

const options = { readUnknownFields: false };

/** The decoder rejects deeper messages (`recursionLimit`). */
const maxDepth = 100;

/**
 * Decodes a message. Fields that the schema does not have are dropped: callers that must preserve them
 * keep the bytes.
 *
 * @throws RuntimeError `data-loss` for a malformed message.
 */
export function decodeMessage<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
): MessageShape<D> {
  try {
    return fromBinary(schema, bytes, options);
  } catch (cause) {
    throw malformed(schema, messageOf(cause), cause);
  }
}

/**
 * Like `decodeMessage()`, for bytes of another process.
 *
 * @throws RuntimeError also `resource-exhausted` when the message has so many fields that decoding it
 *   would take too much memory and delay all other calls.
 */
export function decodeBounded<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
): MessageShape<D> {
  if (bytes.length > uncheckedBytes) checkCost(schema, bytes);
  return decodeMessage(schema, bytes);
}

/**
 * Decodes the request of a method.
 *
 * @throws RuntimeError `invalid-argument` when it is malformed, `resource-exhausted` like `decodeBounded()`.
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
 * The bytes of the message in field `number` of an encoded message; empty for an absent field.
 * If the field is repeated, the last values of its fields count, as in protobuf.
 *
 * @throws RuntimeError `data-loss` for a malformed message, also for one that decodeMessage() accepts: the decoder
 *   does not notice when the last field of an embedded message is longer than that message.
 */
export function embeddedMessage(bytes: Uint8Array, number: number): Uint8Array {
  try {
    return readEmbedded(bytes, number);
  } catch (cause) {
    throw new RuntimeError("data-loss", `malformed message: ${messageOf(cause)}`, { cause });
  }
}

function readEmbedded(bytes: Uint8Array, number: number): Uint8Array {
  const reader = new BinaryReader(bytes);
  const parts: Uint8Array[] = [];
  while (reader.pos < bytes.length) {
    const [found, wireType] = reader.tag();
    if (found === number && wireType === WireType.LengthDelimited) parts.push(reader.bytes());
    else reader.skip(wireType, found);
  }
  return Buffer.concat(parts);
}

function malformed(schema: DescMessage, why: string, cause?: unknown): RuntimeError {
  return new RuntimeError("data-loss", `malformed ${schema.typeName}: ${why}`, { cause });
}

function checkCost(schema: DescMessage, bytes: Uint8Array): void {
  try {
    new CostCounter(new BinaryReader(bytes)).message(schema, bytes.length, 0);
  } catch (error) {
    if (error instanceof RuntimeError) throw error;
    // The message is malformed. The decoder says what is wrong, and stops at the same byte.
  }
}

/** Reads a message like the decoder and adds up its cost, without creating objects. */
class CostCounter {
  readonly #reader: BinaryReader;
  #left = maxMessageCost;

  constructor(reader: BinaryReader) {
    this.#reader = reader;
  }

  message(schema: DescMessage, bytes: number, depth: number): void {
    if (depth > maxDepth) throw new Error("too deep");
    const fields = fieldsOf(schema);
    const end = this.#reader.pos + bytes;
    this.#charge(schema, fields.size);
    while (this.#reader.pos < end) {
      const [number, wireType] = this.#reader.tag();
      this.#charge(schema, 1);
      const field = fields.get(number);
      if (field === undefined) this.#skipUnknown(schema, number, wireType);
      else this.#field(field, wireType, depth);
    }
  }

  /** A known field is read by its type, whatever its wire type is, as the decoder does. */
  #field(field: DescField, wireType: WireType, depth: number): void {
    if (field.fieldKind === "map") this.#mapEntry(field, depth);
    else if (field.message !== undefined) {
      this.message(field.message, this.#reader.uint32(), depth + 1);
    } else if (field.fieldKind === "list" && wireType === WireType.LengthDelimited) {
      this.#items(field);
    } else this.#scalar(field);
  }

  /** A string or bytes, or packed numbers. */
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
      this.#charge(field.parent, 1);
    }
  }

  #mapEntry(field: DescField & { readonly fieldKind: "map" }, depth: number): void {
    const end = this.#reader.uint32() + this.#reader.pos;
    while (this.#reader.pos < end) {
      const [number, wireType] = this.#reader.tag();
      this.#charge(field.parent, 1);
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
      throw malformed(schema, `field ${number} is a group, which proto3 does not have`);
    }
    this.#reader.skip(wireType, number);
  }

  #charge(schema: DescMessage, cost: number): void {
    this.#left -= cost;
    if (this.#left >= 0) return;
    throw new RuntimeError(
      "resource-exhausted",
      `${schema.typeName} has too many fields and list items; send fewer of them`,
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

/** All others are varints, including the values of an enum. */
function wireTypeOfScalar(scalar: ScalarType | undefined): WireType {
  return (scalar === undefined ? undefined : wireTypes[scalar]) ?? WireType.Varint;
}
