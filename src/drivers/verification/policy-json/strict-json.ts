import { messageOf, RuntimeError } from "../../../base/errors.ts";

/** A value of a JSON text, and where it is: `"policy.json": transports.docker`. */
export interface JsonValue {
  readonly value: unknown;
  readonly where: string;
}

/**
 * The value of a JSON text as containers/image reads its policies and signatures: an object that has a key
 * twice is refused, because programs differ in which of the two they use. `what` begins the messages.
 *
 * All functions here throw `failed-precondition`.
 */
export function parseStrictJson(text: string, what: string): JsonValue {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(what, `it is not JSON: ${messageOf(cause).slice(0, 200)}`);
  }
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw invalid(what, `it has the key ${shown(repeated)} twice`);
  return { value, where: what };
}

/** The entries of an object, each with the place of its value. */
export function entriesOf({ value, where }: JsonValue): readonly (readonly [string, JsonValue])[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(where, "it must be an object");
  }
  const entries: readonly (readonly [string, unknown])[] = Object.entries(value);
  return entries.map(([key, item]) => [key, { value: item, where: at(where, key) }]);
}

/** The values of an object by their keys, which must be among those given. */
export function fieldsOf<Key extends string>(
  json: JsonValue,
  keys: readonly Key[],
): { readonly [K in Key]?: JsonValue } {
  const fields: { [K in Key]?: JsonValue } = {};
  for (const [name, item] of entriesOf(json)) {
    const key = keys.find((known) => known === name);
    if (key === undefined) {
      const known = keys.map((known) => `"${known}"`).join(", ");
      throw invalid(json.where, `it must not have the key ${shown(name)}, only ${known}`);
    }
    fields[key] = item;
  }
  return fields;
}

/** The value that an object must have. */
export function required(item: JsonValue | undefined, where: string, key: string): JsonValue {
  if (item !== undefined) return item;
  throw invalid(where, `it must have the key "${key}"`);
}

/** A text that is not empty. */
export function textOf({ value, where }: JsonValue): string {
  if (typeof value === "string" && value !== "") return value;
  throw invalid(where, "it must be a text that is not empty");
}

/** The values of a list that is not empty. */
export function itemsOf({ value, where }: JsonValue): readonly JsonValue[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid(where, "it must be a list that is not empty");
  }
  return value.map((item: unknown, index) => ({ value: item, where: `${where}[${index}]` }));
}

/** An error about a place in a JSON text. */
export function invalid(where: string, why: string): RuntimeError {
  return new RuntimeError("failed-precondition", `read ${where}: ${why}`);
}

/** A text of a stranger as a part of a message. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}

function at(where: string, key: string): string {
  const name = /^[A-Za-z][\w-]*$/.test(key) ? key : shown(key);
  return where.endsWith('"') && !where.includes('": ') ? `${where}: ${name}` : `${where}.${name}`;
}

/** A string, or one of the characters that give a JSON text its structure. Other text is skipped. */
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]/g;

/** The first key that an object of this text has twice. JSON.parse keeps the last one and does not say so. */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  let last = "";
  for (const [found] of text.matchAll(token)) {
    if (found === "{") open.push(new Set());
    else if (found === "[") open.push(undefined);
    else if (found === "}" || found === "]") open.pop();
    else if (found === ":") {
      const key = JSON.parse(last) as string;
      const keys = open.at(-1);
      if (keys?.has(key) === true) return key;
      keys?.add(key);
    }
    last = found;
  }
  return undefined;
}
