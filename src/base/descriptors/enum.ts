import type { DescEnum, DescEnumValue, DescMessage } from "@bufbuild/protobuf";
import {
  bytesIn,
  Declaration,
  Described,
  deprecated,
  type Encoded,
  numberIn,
  option,
  type Owner,
  propertyName,
  read,
  textIn,
} from "./encoded.ts";

const ofEnum = { value: 2, options: 3 } as const;
const ofValue = { name: 1, number: 2, options: 3 } as const;

interface Parts {
  readonly deprecated: boolean;
  readonly values: DescEnumValue[];
  readonly value: Record<number, DescEnumValue>;
  readonly sharedPrefix: string | undefined;
}

/** An enum, whose values are read when they are first used. */
export class ProtoEnum extends Declaration<Parts> implements DescEnum {
  readonly kind = "enum";
  readonly parent: DescMessage | undefined;
  readonly open = true; // in proto3

  constructor(bytes: Buffer, owner: Owner) {
    super(bytes, owner);
    this.parent = owner.parent;
  }

  get deprecated(): boolean {
    return this.parts.deprecated;
  }
  get values(): DescEnumValue[] {
    return this.parts.values;
  }
  get value(): Record<number, DescEnumValue> {
    return this.parts.value;
  }
  get sharedPrefix(): string | undefined {
    return this.parts.sharedPrefix;
  }

  override toString(): string {
    return `enum ${this.typeName}`;
  }

  protected readParts(fields: Encoded): Parts {
    const encoded = bytesIn(fields, ofEnum.value).map(read);
    const names = encoded.map((each) => textIn(each, ofValue.name));
    const prefix = sharedPrefix(this.name, names);
    const values = encoded.map((each) => new ProtoEnumValue(each, this, prefix?.length ?? 0));
    return {
      deprecated: option(fields, ofEnum.options, deprecated.enum) === 1,
      values,
      // Of names for one number, the first one counts.
      value: Object.fromEntries(values.toReversed().map((each) => [each.number, each])),
      sharedPrefix: prefix,
    };
  }
}

class ProtoEnumValue extends Described implements DescEnumValue {
  readonly kind = "enum_value";
  readonly parent: DescEnum;
  readonly localName: string;
  readonly number: number;
  readonly jsonName: string;
  readonly deprecated: boolean;

  constructor(encoded: Encoded, parent: DescEnum, prefixLength: number) {
    super(textIn(encoded, ofValue.name));
    this.parent = parent;
    this.localName = propertyName(this.name.slice(prefixLength));
    this.number = numberIn(encoded, ofValue.number) ?? 0;
    this.jsonName = this.name;
    this.deprecated = option(encoded, ofValue.options, deprecated.enumValue) === 1;
  }

  override toString(): string {
    return `enum value ${this.parent.typeName}.${this.name}`;
  }
}

/** `my_enum_` of MY_ENUM_A and MY_ENUM_B in MyEnum; undefined if a name would not be one without it. */
function sharedPrefix(enumName: string, names: readonly string[]): string | undefined {
  const snake = enumName.slice(0, 1) + enumName.slice(1).replace(/[A-Z]/g, (each) => `_${each}`);
  const prefix = `${snake.toLowerCase()}_`;
  const isShared = names.every(
    (name) => name.toLowerCase().startsWith(prefix) && /^\D/.test(name.slice(prefix.length)),
  );
  return isShared ? prefix : undefined;
}
