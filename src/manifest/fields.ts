import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Document,
  type LineCounter,
  type YAMLMap,
} from "yaml";
import { nearest } from "../base/nearest.ts";
import { parseQuantity } from "./quantity.ts";

/** An error in a manifest, or a field that davit does not support. */
export interface ManifestFinding {
  readonly line: number;
  readonly message: string;
}

/** A document that is being read, and the errors found so far. */
export interface ManifestText {
  readonly document: Document;
  readonly lines: LineCounter;
  readonly findings: ManifestFinding[];
}

/** The reasons why fields of Kubernetes are not supported, by name. */
export type UnsupportedFields = Readonly<Record<string, string>>;

/**
 * Reads the fields of an object in a manifest by type, and finally rejects those that were not
 * read: unsupported fields must not be ignored silently.
 *
 * A field that is null, an empty object or an empty list counts as absent, as in Kubernetes: tools
 * write `status: {}` and `creationTimestamp: null`.
 */
export class Fields {
  readonly #text: ManifestText;
  readonly #path: string;
  readonly #node: unknown;
  readonly #values = new Map<string, { readonly value: unknown; readonly line: number }>();
  readonly #read = new Set<string>();
  readonly #emptyObjects = new Set<string>();

  /** The fields of `node` at `path` (such as "spec.dnsConfig"); undefined has none. */
  constructor(text: ManifestText, path: string, node: unknown) {
    this.#text = text;
    this.#path = path;
    this.#node = node;
    if (node === undefined) return;
    if (!isMap(node)) {
      this.reject(undefined, "must be an object");
      return;
    }
    this.#readMap(node);
  }

  #readMap(node: YAMLMap): void {
    for (const { key, value } of node.items) {
      const resolved = isAlias(value) ? value.resolve(this.#text.document) : value;
      const name = isScalar(key) ? String(key.value) : "";
      if (isMap(resolved) && resolved.items.length === 0) this.#emptyObjects.add(name);
      if (isAbsent(resolved)) continue;
      this.#values.set(name, { value: resolved, line: lineOf(this.#text, key) });
    }
  }

  /** Whether the field is present. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** Whether the field is `{}`, which matters where its presence has a meaning: `emptyDir: {}`. */
  isEmptyObject(name: string): boolean {
    return this.#emptyObjects.has(name);
  }

  /** A string that matches `pattern`, which `allowed` describes. */
  string(name: string, pattern?: RegExp, allowed?: string): string | undefined {
    const value = this.#scalar(name, "string", "a string (quote it)");
    if (value === undefined || pattern === undefined || pattern.test(value)) return value;
    this.reject(name, `is "${value}": must be ${allowed ?? String(pattern)}`);
    return undefined;
  }

  /** One of several words. */
  choice<T extends string>(name: string, words: readonly T[]): T | undefined {
    const value = this.string(name);
    const found = words.find((word) => word === value);
    if (value !== undefined && found === undefined) {
      this.reject(name, `is "${value}": must be one of ${words.join(", ")}`);
    }
    return found;
  }

  /** A boolean. */
  boolean(name: string): boolean | undefined {
    return this.#scalar(name, "boolean", "true or false");
  }

  /** An integer from `min` to `max`, both inclusive. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.#scalar(name, "number", "a number");
    if (value === undefined) return undefined;
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    this.reject(name, `is ${value}: must be an integer from ${min} to ${max}`);
    return undefined;
  }

  /** A list of strings; empty when absent. */
  strings(name: string): string[] {
    const items: string[] = [];
    for (const item of this.#items(name)) {
      if (isScalar(item) && typeof item.value === "string") items.push(item.value);
      else this.reject(name, "must contain only strings (quote them)", lineOf(this.#text, item));
    }
    return items;
  }

  /** A list of integers from 0 to `max`; empty when absent. */
  integers(name: string, max: number): number[] {
    const items: number[] = [];
    for (const item of this.#items(name)) {
      const value = isScalar(item) ? item.value : undefined;
      if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max) {
        items.push(value);
      } else {
        this.reject(name, `must contain only integers from 0 to ${max}`, lineOf(this.#text, item));
      }
    }
    return items;
  }

  /** An object of strings, such as labels; empty when absent. */
  stringMap(name: string): Record<string, string> {
    const result: Record<string, string> = {};
    const fields = this.object(name);
    for (const key of fields?.names() ?? []) {
      const value = fields?.string(key);
      if (value !== undefined) result[key] = value;
    }
    return result;
  }

  /** A quantity: 250m, 64Mi or a plain number. */
  quantity(name: string): number | undefined {
    this.#read.add(name);
    const node = this.#values.get(name)?.value;
    if (node === undefined) return undefined;
    const value = isScalar(node) ? parseQuantity(String(node.value)) : undefined;
    if (value === undefined) this.reject(name, "must be a quantity, such as 250m or 64Mi");
    return value;
  }

  /** A nested object, or undefined when absent. The caller reads it and calls its `rejectUnread`. */
  object(name: string): Fields | undefined {
    this.#read.add(name);
    const found = this.#values.get(name);
    return found && new Fields(this.#text, this.#at(name), found.value);
  }

  /** A nested object; one without fields when absent. */
  objectOrEmpty(name: string): Fields {
    return this.object(name) ?? new Fields(this.#text, this.#at(name), undefined);
  }

  /** The objects of a list; empty when absent. */
  objects(name: string): Fields[] {
    const at = this.#at(name);
    return this.#items(name).map((item, index) => new Fields(this.#text, `${at}[${index}]`, item));
  }

  /** The names of all fields that are present. */
  names(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** Adds an error about a field, or about the object itself. */
  reject(name: string | undefined, problem: string, line = this.#lineOf(name)): void {
    const at = name === undefined ? this.#path : this.#at(name);
    this.#text.findings.push({ line, message: `${at === "" ? "the document" : at}: ${problem}` });
  }

  /** Adds an error if a field is missing, unless the object itself is absent. */
  require(name: string): void {
    if (this.#node !== undefined && !this.has(name))
      this.reject(name, "is missing", this.#lineOf(undefined));
  }

  /** Rejects all fields that were not read, with the reason where one is known. */
  rejectUnread(reasons: UnsupportedFields = {}): void {
    for (const name of this.names()) {
      if (this.#read.has(name)) continue;
      const reason = Object.hasOwn(reasons, name) ? reasons[name] : undefined;
      if (reason !== undefined) {
        this.reject(name, `not supported by davit run: ${reason}`);
        continue;
      }
      const similar = nearest(name, [...this.#read, ...Object.keys(reasons)]);
      const hint = similar === undefined ? "" : `, did you mean ${this.#at(similar)}?`;
      this.reject(name, `not supported by davit run${hint}`);
    }
  }

  #scalar(name: string, type: "string", allowed: string): string | undefined;
  #scalar(name: string, type: "boolean", allowed: string): boolean | undefined;
  #scalar(name: string, type: "number", allowed: string): number | undefined;
  #scalar(name: string, type: string, allowed: string): unknown {
    this.#read.add(name);
    const found = this.#values.get(name);
    if (found === undefined) return undefined;
    const value = isScalar(found.value) ? found.value.value : found.value;
    if (typeof value === type) return value;
    this.reject(name, `must be ${allowed}`);
    return undefined;
  }

  #items(name: string): readonly unknown[] {
    this.#read.add(name);
    const found = this.#values.get(name);
    if (found === undefined) return [];
    if (!isSeq(found.value)) {
      this.reject(name, "must be a list");
      return [];
    }
    return found.value.items.map((item) =>
      isAlias(item) ? item.resolve(this.#text.document) : item,
    );
  }

  #at(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }

  #lineOf(name: string | undefined): number {
    const found = name === undefined ? undefined : this.#values.get(name);
    return found?.line ?? lineOf(this.#text, this.#node);
  }
}

function lineOf(text: ManifestText, node: unknown): number {
  const range = isMap(node) || isSeq(node) || isScalar(node) ? node.range : undefined;
  return range ? text.lines.linePos(range[0]).line : 1;
}

function isAbsent(node: unknown): boolean {
  if (node === null || node === undefined) return true;
  if (isScalar(node)) return node.value === null;
  return (isMap(node) || isSeq(node)) && node.items.length === 0;
}
