import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";

/**
 * The fields of a JSON object from disk. Every getter checks what it hands out and throws
 * `data-loss` with the field's full name (`state.atNs`) and what was found there instead.
 */
export class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #prefix: string;

  private constructor(values: Readonly<Record<string, unknown>>, prefix: string) {
    this.#values = values;
    this.#prefix = prefix;
  }

  /** Parses a text that must be a JSON object with the version `v`. */
  static parse(text: string, v: number): Fields {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new RuntimeError("data-loss", `parse record: it is not JSON: ${String(cause)}`, {
        cause,
      });
    }
    if (!isObject(value))
      throw new RuntimeError("data-loss", "parse record: it is not a JSON object");
    const fields = new Fields(value, "");
    if (value["v"] !== v) throw fields.#wrong("v", `version ${v}`);
    return fields;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }

  string(name: string): string {
    const value = this.#values[name];
    if (typeof value !== "string") throw this.#wrong(name, "a string");
    return value;
  }

  /** Undefined when it is absent. */
  optionalString(name: string): string | undefined {
    return this.has(name) ? this.string(name) : undefined;
  }

  strings(name: string): readonly string[] {
    const value = this.#values[name];
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
      throw this.#wrong(name, "an array of strings");
    }
    return value;
  }

  /** A whole number that JavaScript holds exactly. */
  integer(name: string): number {
    const value = this.#values[name];
    if (typeof value !== "number" || !Number.isSafeInteger(value)) {
      throw this.#wrong(name, "a whole number");
    }
    return value;
  }

  /** A whole number of any size, kept as a string of decimal digits. */
  bigint(name: string): bigint {
    const value = this.#values[name];
    if (!isDigits(value)) throw this.#wrong(name, "a string of digits");
    return BigInt(value);
  }

  bigints(name: string): readonly bigint[] {
    const value = this.#values[name];
    if (!Array.isArray(value) || !value.every(isDigits)) {
      throw this.#wrong(name, "an array of strings of digits");
    }
    return value.map(BigInt);
  }

  digest(name: string): Digest {
    const value = this.#values[name];
    if (!isDigestValue(value)) throw this.#wrong(name, "a sha256 digest");
    return value;
  }

  digests(name: string): readonly Digest[] {
    const value = this.#values[name];
    if (!Array.isArray(value) || !value.every(isDigestValue)) {
      throw this.#wrong(name, "an array of sha256 digests");
    }
    return value;
  }

  boolean(name: string): boolean {
    const value = this.#values[name];
    if (typeof value !== "boolean") throw this.#wrong(name, "true or false");
    return value;
  }

  object(name: string): Fields {
    const value = this.#values[name];
    if (!isObject(value)) throw this.#wrong(name, "an object");
    return new Fields(value, `${this.#prefix}${name}.`);
  }

  objects(name: string): readonly Fields[] {
    const value = this.#values[name];
    if (!Array.isArray(value) || !value.every(isObject)) {
      throw this.#wrong(name, "an array of objects");
    }
    return value.map((item, index) => new Fields(item, `${this.#prefix}${name}[${index}].`));
  }

  /** An object whose values are all strings. */
  stringMap(name: string): Readonly<Record<string, string>> {
    const value = this.#values[name];
    if (!isStringMap(value)) throw this.#wrong(name, "an object of strings");
    return value;
  }

  /** An object with unchecked fields; undefined when it is absent. */
  optionalJson(name: string): Readonly<Record<string, unknown>> | undefined {
    if (!this.has(name)) return undefined;
    const value = this.#values[name];
    if (!isObject(value)) throw this.#wrong(name, "an object");
    return value;
  }

  /** Undefined when it is absent. */
  optionalObject(name: string): Fields | undefined {
    return this.has(name) ? this.object(name) : undefined;
  }

  #wrong(name: string, expected: string): RuntimeError {
    const found = this.has(name) ? JSON.stringify(this.#values[name]).slice(0, 80) : "absent";
    const field = this.#prefix + name;
    return new RuntimeError(
      "data-loss",
      `parse record field "${field}": it must be ${expected}; it is ${found}`,
    );
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isStringMap(value: unknown): value is Readonly<Record<string, string>> {
  return isObject(value) && Object.values(value).every((item) => typeof item === "string");
}

function isDigits(value: unknown): value is string {
  return typeof value === "string" && /^-?[0-9]{1,30}$/.test(value);
}

function isDigestValue(value: unknown): value is Digest {
  return typeof value === "string" && isDigest(value);
}
