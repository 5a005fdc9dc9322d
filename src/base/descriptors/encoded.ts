// Parts of google.protobuf.FileDescriptorProto, read one level at a time.
import type { DescFile, DescMessage } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

// Field numbers of google/protobuf/descriptor.proto.
export const ofFile = { name: 1, package: 2, message: 4, enum: 5, service: 6, options: 8 } as const;
/** The number of `deprecated` in the options of each kind. */
export const deprecated = {
  file: 23,
  message: 3,
  field: 3,
  enum: 3,
  enumValue: 1,
  service: 33,
  method: 33,
} as const;

/** The fields of an encoded message: numbers, and the bytes of texts and messages. */
export type Encoded = ReadonlyMap<number, readonly (number | Buffer)[]>;

/** Reads a message without those in it. */
export function read(bytes: Buffer): Encoded {
  const fields = new Map<number, (number | Buffer)[]>();
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    const value = wireType === WireType.Varint ? reader.int32() : partOf(reader);
    const values = fields.get(number);
    if (values === undefined) fields.set(number, [value]);
    else values.push(value);
  }
  return fields;
}

// A part of a Buffer is one.
function partOf(reader: BinaryReader): Buffer {
  return reader.bytes() as Buffer;
}

/** The value of a field of numbers; undefined when it is not there. */
export function numberIn(fields: Encoded, number: number): number | undefined {
  return fields.get(number)?.[0] as number | undefined;
}

/** The value of a field of texts, which are names; "" when it is not there. */
export function textIn(fields: Encoded, number: number): string {
  return bytesIn(fields, number)[0]?.toString("latin1") ?? "";
}

/** The values of a field of messages. */
export function bytesIn(fields: Encoded, number: number): readonly Buffer[] {
  return (fields.get(number) ?? []) as readonly Buffer[];
}

/** The number in the message of options. */
export function option(fields: Encoded, options: number, number: number): number | undefined {
  const [bytes] = bytesIn(fields, options);
  return bytes === undefined ? undefined : numberIn(read(bytes), number);
}

/** What all descriptors are. */
export abstract class Described {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** The encoded form is not kept. */
  get proto(): never {
    throw new Error(`${this.toString()}: there is no "proto"`);
  }

  abstract toString(): string;
}

/** Where something is declared. */
export interface Owner {
  readonly file: DescFile;
  readonly parent: DescMessage | undefined;
  /** What its full name begins with. */
  readonly scope: string;
}

/** A message, an enum or a service, of which only the name is read before it is used. */
export abstract class Declaration<Parts> extends Described {
  readonly file: DescFile;
  readonly typeName: string;
  readonly #bytes: Buffer;
  #parts: Parts | undefined;

  constructor(bytes: Buffer, { file, scope }: Owner) {
    // All begin with their name.
    const reader = new BinaryReader(bytes);
    reader.tag();
    super(partOf(reader).toString("latin1"));
    this.file = file;
    this.typeName = scope === "" ? this.name : `${scope}.${this.name}`;
    this.#bytes = bytes;
  }

  protected get parts(): Parts {
    this.#parts ??= this.readParts(read(this.#bytes));
    return this.#parts;
  }

  protected abstract readParts(fields: Encoded): Parts;
}

/** The name of a field in JSON: without "_", and each letter after one is large. */
export function camelCase(name: string): string {
  return name.replace(/_+([^_]?)/g, (_, next: string) => next.toUpperCase());
}

/** The name of a property, which must not be one that all objects have. */
export function propertyName(name: string): string {
  return ["constructor", "toString", "toJSON", "valueOf"].includes(name) ? `${name}$` : name;
}

/** Finds what `typeName` names, with its leading dot, in a file or in those that it imports. */
export function findType<Kind extends "messages" | "enums">(
  file: DescFile,
  kind: Kind,
  typeName: string,
): DescFile[Kind][number] {
  const name = typeName.slice(1);
  for (const each of [file, ...file.dependencies]) {
    const found =
      each[kind].find((type) => type.typeName === name) ?? findNested(each.messages, kind, name);
    if (found !== undefined) return found;
  }
  throw new Error(`read ${file.toString()}: type ${name} is missing`);
}

function findNested<Kind extends "messages" | "enums">(
  messages: readonly DescMessage[],
  kind: Kind,
  name: string,
): DescFile[Kind][number] | undefined {
  const outer = messages.find(({ typeName }) => name.startsWith(`${typeName}.`));
  if (outer === undefined) return undefined;
  const nested = kind === "messages" ? outer.nestedMessages : outer.nestedEnums;
  return (
    nested.find(({ typeName }) => typeName === name) ?? findNested(outer.nestedMessages, kind, name)
  );
}
