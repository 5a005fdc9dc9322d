// Messages of the protocol to plain values and back, for all types alike: what messages.ts and changes.ts describe.
import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type Message,
  type MessageShape,
  ScalarType,
} from "@bufbuild/protobuf";
import { shown } from "./builder/check.ts";

type Values = Record<string, unknown>;

/** The plain value of a message. Its type is the one of messages.ts or changes.ts with the same name. */
export function toPlain<D extends DescMessage>(schema: D, message: MessageShape<D>): object {
  return plainMessage(schema, message);
}

/**
 * The message of a plain value. A list, map or string that is absent is empty; 64-bit numbers may be numbers.
 *
 * @throws TypeError for a value that does not fit its field, with the path to it, and for a field that does not exist.
 */
export function toMessage<D extends DescMessage>(schema: D, value: object): MessageShape<D> {
  return messageOf(schema, value, schema.name) as MessageShape<D>;
}

/** `CDIDevices` and `NRIVersion` are the only names that begin with capitals. */
function plainName(field: DescField): string {
  return field.localName.replace(/^[A-Z]+(?=[A-Z])/, (capitals) => capitals.toLowerCase());
}

/** The field with the value of an optional number, string or list, which has a message of its own in the protocol. */
function wrapped(schema: DescMessage): DescField | undefined {
  return schema.name.startsWith("Optional") ? schema.field["value"] : undefined;
}

/** How one field of a message becomes plain. */
interface PlainField {
  readonly from: string;
  readonly to: string;
  /** Undefined for values that are plain already: numbers, strings, and lists and maps of them. */
  readonly convert: ((value: unknown) => unknown) | undefined;
}

/** Made once for each type: a plugin is asked while a container waits for it. */
const plainFields = new WeakMap<DescMessage, readonly PlainField[]>();

function plainFieldsOf(schema: DescMessage): readonly PlainField[] {
  let fields = plainFields.get(schema);
  if (fields === undefined) {
    fields = schema.fields.map((field) => ({
      from: field.localName,
      to: plainName(field),
      convert: converterOf(field),
    }));
    plainFields.set(schema, fields);
  }
  return fields;
}

function plainMessage(schema: DescMessage, message: Message): object {
  const values = message as unknown as Values;
  const result: Values = {};
  for (const { from, to, convert } of plainFieldsOf(schema)) {
    const value = values[from];
    if (value !== undefined) result[to] = convert === undefined ? value : convert(value);
  }
  return result;
}

function converterOf(field: DescField): PlainField["convert"] {
  const item = itemConverterOf(field);
  if (item === undefined || (field.fieldKind !== "list" && field.fieldKind !== "map")) return item;
  if (field.fieldKind === "list") return (value) => (value as readonly unknown[]).map(item);
  return (value) =>
    Object.fromEntries(Object.entries(value as Values).map(([key, each]) => [key, item(each)]));
}

function itemConverterOf(field: DescField): PlainField["convert"] {
  const { message, enum: names } = field;
  if (message !== undefined) {
    const inner = wrapped(message);
    if (inner === undefined) return (value) => plainMessage(message, value as Message);
    const convert = converterOf(inner);
    return (value) => {
      const held = (value as Values)["value"];
      return convert === undefined ? held : convert(held);
    };
  }
  return names === undefined ? undefined : (value) => enumName(names, value as number);
}

function enumName(schema: DescEnum, number: number): string {
  return schema.value[number]?.name ?? String(number);
}

function messageOf(schema: DescMessage, value: unknown, path: string): Message {
  if (typeof value !== "object" || value === null) throw unfit(path, "an object", value);
  const left = new Map(Object.entries(value));
  const result = create(schema);
  for (const field of schema.fields) {
    const name = plainName(field);
    const given: unknown = left.get(name);
    left.delete(name);
    if (given !== undefined) {
      (result as unknown as Values)[field.localName] = fieldOf(field, given, `${path}.${name}`);
    }
  }
  for (const [name, given] of left) {
    if (given !== undefined) throw new TypeError(`${path}: there is no field ${shown(name)}`);
  }
  return result;
}

function fieldOf(field: DescField, value: unknown, path: string): unknown {
  switch (field.fieldKind) {
    case "list":
      if (!Array.isArray(value)) throw unfit(path, "a list", value);
      return value.map((item, index) => itemOf(field, item, `${path}[${index}]`));
    case "map":
      if (typeof value !== "object" || value === null) throw unfit(path, "an object", value);
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [
          key,
          itemOf(field, item, `${path}[${shown(key)}]`),
        ]),
      );
    case "message":
    case "enum":
    case "scalar":
      return itemOf(field, value, path);
  }
}

function itemOf(field: DescField, value: unknown, path: string): unknown {
  if (field.message !== undefined) {
    const inner = wrapped(field.message);
    if (inner === undefined) return messageOf(field.message, value, path);
    const wrapper = create(field.message);
    (wrapper as unknown as Values)["value"] = fieldOf(inner, value, path);
    return wrapper;
  }
  if (field.enum !== undefined) {
    const found = field.enum.values.find(({ name }) => name === value);
    if (found === undefined) throw unfit(path, `the name of a ${field.enum.name}`, value);
    return found.number;
  }
  return scalarOf(field.scalar, value, path);
}

/** The range of each integer type that the protocol has. */
const ranges: Readonly<Partial<Record<ScalarType, readonly [low: bigint, high: bigint]>>> = {
  [ScalarType.INT32]: [-(2n ** 31n), 2n ** 31n - 1n],
  [ScalarType.UINT32]: [0n, 2n ** 32n - 1n],
  [ScalarType.INT64]: [-(2n ** 63n), 2n ** 63n - 1n],
  [ScalarType.UINT64]: [0n, 2n ** 64n - 1n],
};

function scalarOf(type: ScalarType, value: unknown, path: string): unknown {
  if (type === ScalarType.STRING || type === ScalarType.BOOL) {
    const name = type === ScalarType.STRING ? "string" : "boolean";
    if (typeof value !== name) throw unfit(path, `a ${name}`, value);
    return value;
  }
  const range = ranges[type];
  if (range === undefined) throw new TypeError(`${path}: its type is not in the protocol of NRI`);
  const number = integer(path, value, ...range);
  return type === ScalarType.INT64 || type === ScalarType.UINT64 ? number : Number(number);
}

function integer(path: string, value: unknown, low: bigint, high: bigint): bigint {
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!isWhole) throw unfit(path, "a whole number", value);
  const number = BigInt(value as number | bigint);
  if (number < low || number > high) throw unfit(path, `from ${low} to ${high}`, value);
  return number;
}

function unfit(path: string, expected: string, value: unknown): TypeError {
  return new TypeError(`${path}: expected ${expected}, got ${shown(value)}`);
}
