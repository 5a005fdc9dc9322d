import type { DescEnum, DescField, DescMessage, DescOneof } from "@bufbuild/protobuf";
import {
  bytesIn,
  camelCase,
  Declaration,
  Described,
  deprecated,
  type Encoded,
  findType,
  numberIn,
  option,
  type Owner,
  propertyName,
  read,
  textIn,
} from "./encoded.ts";
import { ProtoEnum } from "./enum.ts";

const ofMessage = { field: 2, message: 3, enum: 4, options: 7, oneof: 8 } as const;
const mapEntryOption = 7;
const ofOneof = { name: 1 } as const;
const ofField = {
  name: 1,
  number: 3,
  label: 4,
  type: 5,
  typeName: 6,
  options: 8,
  oneof: 9,
  jsonName: 10,
  isOptional: 17,
} as const;
const packedOption = 2;
const repeated = 3;
const typeNumber = { string: 9, message: 11, bytes: 12, enum: 14 } as const;
const presence = { explicit: 1, implicit: 2 } as const;

interface Parts {
  readonly fields: Encoded;
  readonly isMapEntry: boolean;
  readonly deprecated: boolean;
  readonly nestedEnums: DescEnum[];
  readonly nestedMessages: DescMessage[];
  readonly mapEntries: readonly ProtoMessage[];
}

interface Members {
  readonly fields: DescField[];
  readonly field: Record<string, DescField>;
  readonly oneofs: DescOneof[];
  readonly members: (DescField | DescOneof)[];
}

/** A message, whose fields are read when they are first used. */
export class ProtoMessage extends Declaration<Parts> implements DescMessage {
  readonly kind = "message";
  readonly parent: DescMessage | undefined;
  readonly nestedExtensions = [];
  // Apart from its types, since these may be needed while others are read.
  #members: Members | undefined;

  constructor(bytes: Buffer, owner: Owner) {
    super(bytes, owner);
    this.parent = owner.parent;
  }

  get deprecated(): boolean {
    return this.parts.deprecated;
  }
  get nestedEnums(): DescEnum[] {
    return this.parts.nestedEnums;
  }
  get nestedMessages(): DescMessage[] {
    return this.parts.nestedMessages;
  }
  /** The messages that stand for the maps among its fields. */
  get mapEntries(): readonly ProtoMessage[] {
    return this.parts.mapEntries;
  }
  get fields(): DescField[] {
    return this.#read().fields;
  }
  get field(): Record<string, DescField> {
    return this.#read().field;
  }
  get oneofs(): DescOneof[] {
    return this.#read().oneofs;
  }
  get members(): (DescField | DescOneof)[] {
    return this.#read().members;
  }

  override toString(): string {
    return `message ${this.typeName}`;
  }

  protected readParts(fields: Encoded): Parts {
    const owner = { file: this.file, parent: this, scope: this.typeName };
    const nested = bytesIn(fields, ofMessage.message).map((each) => new ProtoMessage(each, owner));
    return {
      fields,
      isMapEntry: option(fields, ofMessage.options, mapEntryOption) === 1,
      deprecated: option(fields, ofMessage.options, deprecated.message) === 1,
      nestedEnums: bytesIn(fields, ofMessage.enum).map((each) => new ProtoEnum(each, owner)),
      nestedMessages: nested.filter(({ parts }) => !parts.isMapEntry),
      mapEntries: nested.filter(({ parts }) => parts.isMapEntry),
    };
  }

  #read(): Members {
    this.#members ??= membersOf(this, this.parts.fields);
    return this.#members;
  }
}

function membersOf(message: ProtoMessage, encoded: Encoded): Members {
  const oneofs = bytesIn(encoded, ofMessage.oneof).map(
    (each) => new ProtoOneof(textIn(read(each), ofOneof.name), message),
  );
  const fields = bytesIn(encoded, ofMessage.field).map((bytes) => {
    const declared = read(bytes);
    // That of an optional field is not in the source.
    const isAlone = declared.has(ofField.isOptional);
    const oneof = isAlone ? undefined : oneofs[numberIn(declared, ofField.oneof) ?? oneofs.length];
    const field = fieldOf(message, declared, oneof);
    oneof?.fields.push(field);
    return field;
  });
  return {
    fields,
    field: Object.fromEntries(fields.map((field) => [field.localName, field])),
    oneofs: oneofs.filter((oneof) => oneof.fields.length > 0),
    members: [...new Set(fields.map((field) => field.oneof ?? field))],
  };
}

class ProtoOneof extends Described implements DescOneof {
  readonly kind = "oneof";
  readonly parent: DescMessage;
  readonly localName: string;
  readonly fields: DescOneof["fields"] = [];
  readonly deprecated = false;

  constructor(name: string, parent: DescMessage) {
    super(name);
    this.parent = parent;
    this.localName = propertyName(camelCase(name));
  }

  override toString(): string {
    return `oneof ${this.parent.typeName}.${this.name}`;
  }
}

/** What depends on the type of a field. */
interface FieldType {
  readonly fieldKind: DescField["fieldKind"];
  readonly scalar?: number | undefined;
  readonly message?: DescMessage | undefined;
  readonly enum?: DescEnum | undefined;
  readonly listKind?: Kind;
  readonly mapKind?: Kind;
  readonly mapKey?: number | undefined;
  readonly packed?: boolean;
}

type Kind = "scalar" | "enum" | "message";

function fieldOf(parent: ProtoMessage, declared: Encoded, oneof: DescOneof | undefined): DescField {
  // Its kind decides which properties it has: this one has all of them.
  return new ProtoField(parent, declared, oneof) as unknown as DescField;
}

class ProtoField extends Described {
  readonly kind = "field";
  readonly parent: DescMessage;
  readonly oneof: DescOneof | undefined;
  readonly number: number;
  readonly localName: string;
  readonly jsonName: string;
  readonly deprecated: boolean;
  readonly presence: number;
  readonly utf8Validation = true;
  readonly longAsString = false;
  readonly fieldKind: DescField["fieldKind"];
  readonly scalar: number | undefined;
  readonly message: DescMessage | undefined;
  readonly enum: DescEnum | undefined;
  readonly listKind: Kind | undefined;
  readonly mapKind: Kind | undefined;
  readonly mapKey: number | undefined;
  readonly packed: boolean | undefined;
  readonly delimitedEncoding: false | undefined;
  /** In proto3 there are no defaults besides zero. */
  readonly getDefaultValue: (() => undefined) | undefined;

  constructor(parent: ProtoMessage, declared: Encoded, oneof: DescOneof | undefined) {
    super(textIn(declared, ofField.name));
    const name = camelCase(this.name);
    this.parent = parent;
    this.oneof = oneof;
    this.number = numberIn(declared, ofField.number) ?? 0;
    this.localName = oneof === undefined ? propertyName(name) : name;
    this.jsonName = textIn(declared, ofField.jsonName) || name;
    this.deprecated = option(declared, ofField.options, deprecated.field) === 1;
    const type = typeOf(parent, declared);
    const isOne = type.fieldKind !== "list" && type.fieldKind !== "map";
    const isTracked = oneof !== undefined || declared.has(ofField.isOptional);
    this.presence =
      isOne && (isTracked || type.fieldKind === "message") ? presence.explicit : presence.implicit;
    this.fieldKind = type.fieldKind;
    this.scalar = type.scalar;
    this.message = type.message;
    this.enum = type.enum;
    this.listKind = type.listKind;
    this.mapKind = type.mapKind;
    this.mapKey = type.mapKey;
    this.packed = type.packed;
    const isMessage = type.fieldKind === "map" || type.message !== undefined;
    this.delimitedEncoding = isMessage ? false : undefined;
    this.getDefaultValue = isOne ? () => undefined : undefined;
  }

  override toString(): string {
    return `field ${this.parent.typeName}.${this.name}`;
  }
}

function typeOf(parent: ProtoMessage, declared: Encoded): FieldType {
  const number = numberIn(declared, ofField.type) ?? 0;
  const name = textIn(declared, ofField.typeName);
  if (numberIn(declared, ofField.label) !== repeated) {
    const single = singleType(parent, number, name);
    return { ...single, fieldKind: single.kind };
  }
  const entry = parent.mapEntries.find(({ typeName }) => `.${typeName}` === name);
  if (entry === undefined) {
    const item = singleType(parent, number, name);
    const packed = isPacked(declared, number);
    return { ...item, fieldKind: "list", listKind: item.kind, packed };
  }
  const [key, value] = entry.fields;
  const { scalar, message, enum: ofEnum } = value as DescField;
  const mapKind = value?.fieldKind as Kind;
  return { fieldKind: "map", mapKey: key?.scalar, mapKind, scalar, message, enum: ofEnum };
}

function singleType(parent: ProtoMessage, number: number, name: string) {
  if (number === typeNumber.message) {
    return { kind: "message", message: findType(parent.file, "messages", name) } as const;
  }
  if (number === typeNumber.enum) {
    return { kind: "enum", enum: findType(parent.file, "enums", name) } as const;
  }
  return { kind: "scalar", scalar: number } as const;
}

/** Whether the items of a list have no tags of their own: numbers have none unless an option says so. */
function isPacked(declared: Encoded, number: number): boolean {
  const { string, bytes, message } = typeNumber;
  if (number === string || number === bytes || number === message) return false;
  return option(declared, ofField.options, packedOption) !== 0;
}
