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

/** One thing in a manifest that is wrong, or that davit does not do. */
export interface ManifestFinding {
  readonly line: number;
  readonly message: string;
}

/** A document being read, and what was found wrong in it. */
export interface ManifestText {
  readonly document: Document;
  readonly lines: LineCounter;
  readonly findings: ManifestFinding[];
}

/** Why fields that Kubernetes knows are not done here, by their names. */
export type Reasons = Readonly<Record<string, string>>;

/**
 * Reads the fields of one object of a manifest, each by its type, and in the end refuses those that
 * nobody asked for: what davit does not do must not look as if it were done.
 *
 * A field that is null or an empty object or list counts as absent, as it does for Kubernetes: tools
 * write `status: {}` and `creationTimestamp: null`.
 */
export class Fields {
  readonly #text: ManifestText;
  readonly #path: string;
  readonly #node: unknown;
  readonly #values = new Map<string, { readonly value: unknown; readonly line: number }>();
  readonly #asked = new Set<string>();
  readonly #emptyObjects = new Set<string>();

  /** The fields of `node`, which stands at `path` (as "spec.dnsConfig"); undefined has none. */
  constructor(text: ManifestText, path: string, node: unknown) {
    this.#text = text;
    this.#path = path;
    this.#node = node;
    if (node === undefined) return;
    if (!isMap(node)) {
      this.refuse(undefined, "must be an object");
      return;
    }
    this.#readMap(node);
  }

  #readMap(node: YAMLMap): void {
    for (const { key, value } of node.items) {
      const resolved = isAlias(value) ? value.resolve(this.#text.document) : value;
      const name = isScalar(key) ? String(key.value) : "";
      if (isMap(resolved) && resolved.items.length === 0) this.#emptyObjects.add(name);
      if (isNothing(resolved)) continue;
      this.#values.set(name, { value: resolved, line: lineOf(this.#text, key) });
    }
  }

  /** True when the field is there. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** True for `name: {}`, which says something where the presence alone does: `emptyDir: {}`. */
  isEmptyObject(name: string): boolean {
    return this.#emptyObjects.has(name);
  }

  /** A string; `pattern` and `allowed` say which. */
  string(name: string, pattern?: RegExp, allowed?: string): string | undefined {
    const value = this.#scalar(name, "string", "a string (quote it)");
    if (value === undefined || pattern === undefined || pattern.test(value)) return value;
    this.refuse(name, `is "${value}": must be ${allowed ?? String(pattern)}`);
    return undefined;
  }

  /** One of a few words. */
  choice<T extends string>(name: string, words: readonly T[]): T | undefined {
    const value = this.string(name);
    const found = words.find((word) => word === value);
    if (value !== undefined && found === undefined) {
      this.refuse(name, `is "${value}": must be one of ${words.join(", ")}`);
    }
    return found;
  }

  /** A boolean. */
  boolean(name: string): boolean | undefined {
    return this.#scalar(name, "boolean", "true or false");
  }

  /** A whole number within limits, both inclusive. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.#scalar(name, "number", "a number");
    if (value === undefined) return undefined;
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    this.refuse(name, `is ${value}: must be an integer from ${min} to ${max}`);
    return undefined;
  }

  /** A list of strings; empty when absent. */
  strings(name: string): string[] {
    const items: string[] = [];
    for (const item of this.#items(name)) {
      if (isScalar(item) && typeof item.value === "string") items.push(item.value);
      else this.refuse(name, "must hold strings only (quote them)", lineOf(this.#text, item));
    }
    return items;
  }

  /** A list of whole numbers, zero or more; empty when absent. */
  integers(name: string, max: number): number[] {
    const items: number[] = [];
    for (const item of this.#items(name)) {
      const value = isScalar(item) ? item.value : undefined;
      if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max) {
        items.push(value);
      } else {
        this.refuse(name, `must hold integers from 0 to ${max}`, lineOf(this.#text, item));
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

  /** A quantity, as 250m or 64Mi or a plain number. */
  quantity(name: string): number | undefined {
    this.#asked.add(name);
    const node = this.#values.get(name)?.value;
    if (node === undefined) return undefined;
    const value = isScalar(node) ? parseQuantity(String(node.value)) : undefined;
    if (value === undefined) this.refuse(name, "must be a quantity, as 250m or 64Mi");
    return value;
  }

  /** A nested object, or undefined when absent. The caller reads it and calls its `refuseRest`. */
  object(name: string): Fields | undefined {
    this.#asked.add(name);
    const found = this.#values.get(name);
    return found && new Fields(this.#text, this.#at(name), found.value);
  }

  /** A nested object; one without fields when it is absent. */
  objectOrEmpty(name: string): Fields {
    return this.object(name) ?? new Fields(this.#text, this.#at(name), undefined);
  }

  /** The objects of a list; empty when absent. */
  objects(name: string): Fields[] {
    const at = this.#at(name);
    return this.#items(name).map((item, index) => new Fields(this.#text, `${at}[${index}]`, item));
  }

  /** The names of all fields that are there. */
  names(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** Notes that something is wrong with a field, or with the object itself. */
  refuse(name: string | undefined, problem: string, line = this.#lineOf(name)): void {
    const at = name === undefined ? this.#path : this.#at(name);
    this.#text.findings.push({ line, message: `${at === "" ? "the document" : at}: ${problem}` });
  }

  /** Notes that a field must be there, unless it is; nothing where the object itself is absent. */
  require(name: string): void {
    if (this.#node !== undefined && !this.has(name))
      this.refuse(name, "is missing", this.#lineOf(undefined));
  }

  /** Refuses each field that was not asked for so far, with the reason where one is known. */
  refuseRest(reasons: Reasons = {}): void {
    for (const name of this.names()) {
      if (this.#asked.has(name)) continue;
      const reason = Object.hasOwn(reasons, name) ? reasons[name] : undefined;
      if (reason !== undefined) {
        this.refuse(name, `not supported by davit run: ${reason}`);
        continue;
      }
      const meant = nearest(name, [...this.#asked, ...Object.keys(reasons)]);
      const hint = meant === undefined ? "" : `, did you mean ${this.#at(meant)}?`;
      this.refuse(name, `not supported by davit run${hint}`);
    }
  }

  #scalar(name: string, type: "string", allowed: string): string | undefined;
  #scalar(name: string, type: "boolean", allowed: string): boolean | undefined;
  #scalar(name: string, type: "number", allowed: string): number | undefined;
  #scalar(name: string, type: string, allowed: string): unknown {
    this.#asked.add(name);
    const found = this.#values.get(name);
    if (found === undefined) return undefined;
    const value = isScalar(found.value) ? found.value.value : found.value;
    if (typeof value === type) return value;
    this.refuse(name, `must be ${allowed}`);
    return undefined;
  }

  #items(name: string): readonly unknown[] {
    this.#asked.add(name);
    const found = this.#values.get(name);
    if (found === undefined) return [];
    if (!isSeq(found.value)) {
      this.refuse(name, "must be a list");
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

function isNothing(node: unknown): boolean {
  if (node === null || node === undefined) return true;
  if (isScalar(node)) return node.value === null;
  return (isMap(node) || isSeq(node)) && node.items.length === 0;
}
