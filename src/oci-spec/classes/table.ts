import { RuntimeError } from "../../base/errors.ts";
import { quoted } from "../refuse.ts";

/** A mapping of a file in YAML. */
export type Table = Readonly<Record<string, unknown>>;

/** Refuses a file of classes with `invalid-argument`; `why` names what is wrong in it. */
export function refuseFile(why: string): never {
  throw new RuntimeError("invalid-argument", why);
}

/** A mapping; empty for nothing at all. */
export function tableAt(value: unknown, where: string): Table {
  if (value === undefined || value === null) return {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Table;
  return refuseFile(`${where} must be a mapping`);
}

/**
 * The fields of a mapping by the names that `known` has, which the file may write in any case: Go's decoders
 * read them so. Any other key is refused.
 */
export function fieldsAt<Name extends string>(
  value: unknown,
  where: string,
  known: readonly Name[],
): { readonly [K in Name]?: unknown } {
  const fields: { [K in Name]?: unknown } = {};
  for (const [key, field] of Object.entries(tableAt(value, where))) {
    const name = known.find((each) => each.toLowerCase() === key.toLowerCase());
    if (name === undefined) {
      refuseFile(`${where} has ${quoted(key)}, which is not one of ${known.join(", ")}`);
    }
    if (name in fields) refuseFile(`${where} has ${quoted(name)} twice`);
    fields[name] = field;
  }
  return fields;
}

/** A text, or a number as it is written; undefined for nothing. */
export function textAt(value: unknown, where: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  return refuseFile(`${where} must be a text or a number`);
}

/** A list of texts; undefined for nothing. */
export function textsAt(value: unknown, where: string): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) return refuseFile(`${where} must be a list`);
  return value.map((each) => textAt(each, where) ?? refuseFile(`${where} has an empty item`));
}

/** true or false; false for nothing. */
export function flagAt(value: unknown, where: string): boolean {
  if (value === undefined || value === null) return false;
  return typeof value === "boolean" ? value : refuseFile(`${where} must be true or false`);
}
