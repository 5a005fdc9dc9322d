import { parse, TomlError } from "smol-toml";

import { RuntimeError } from "../../../base/errors.ts";
import { asRecord } from "../failure.ts";

/** A [[registry]] of registries.conf. */
export interface RegistryEntry {
  /** `registry.example`, `registry.example:5000/team`, `*.example`, or with a tag or a digest. */
  readonly prefix: string;
  /** What replaces the prefix in the names of images. Undefined for nothing. */
  readonly location: string | undefined;
  readonly isBlocked: boolean;
  readonly isInsecure: boolean;
  readonly mirrors: readonly MirrorEntry[];
  /** The file that it is in. */
  readonly file: string;
}

/** A [[registry.mirror]]. */
export interface MirrorEntry {
  readonly location: string;
  readonly isInsecure: boolean;
  readonly for: "all" | "digest-only" | "tag-only";
}

/** What one file says. Undefined for what it says nothing of. */
export interface RegistriesFile {
  readonly searched: readonly string[] | undefined;
  readonly registries: readonly RegistryEntry[];
  /** Full names by short names; an empty one removes the alias of an earlier file. */
  readonly aliases: ReadonlyMap<string, string>;
}

type Table = Readonly<Record<string, unknown>>;

/** The largest file that is read. Bytes. */
export const maxRegistriesBytes = 4 * 1024 * 1024;
const maxEntries = 10_000;

const topKeys = [
  "unqualified-search-registries",
  "short-name-mode",
  "registry",
  "aliases",
  // Without a meaning here.
  "credential-helpers",
  "additional-layer-store-auth-helper",
];
const mirrorKeys = ["location", "insecure", "pull-from-mirror"];
const registryKeys = [
  "prefix",
  "location",
  "blocked",
  "insecure",
  "mirror-by-digest-only",
  "mirror",
];

// The first part of a name is a host only with a dot or a port (distribution/reference).
const letters = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?";
const port = ":\\d{1,5}";
const host = [
  `(?:${letters}(?:\\.${letters})+|localhost|\\[[a-f0-9:]+\\])(?:${port})?`,
  `${letters}${port}`,
].join("|");
const path = "(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*";
const locationGrammar = new RegExp(`^(?:${host})${path}$`);
const prefixGrammar = new RegExp(`^(?:${host})${path}(?:[:@][\\w.:-]+)?$`);
const wildcardGrammar = /^\*(?:\.[a-z0-9-]+)+$/;
const shortGrammar = new RegExp(`^[a-z0-9]+(?:[._-]+[a-z0-9]+)*${path}$`);

/**
 * Reads a registries.conf of version 2 (containers-registries.conf(5)). `failed-precondition` with file
 * and line or key for anything else: it may block registries, so that it must not be ignored.
 */
export function parseRegistriesFile(text: string, file: string): RegistriesFile {
  const reader = new Reader(file);
  const raw = parseToml(text, file);
  if (raw["registries"] !== undefined) {
    throw reader.refusal("registries", "is of version 1 of this format: use [[registry]]");
  }
  reader.refuseOthers(raw, "", topKeys);
  reader.oneOf(raw["short-name-mode"] ?? "enforcing", "short-name-mode", [
    "enforcing",
    "permissive",
    "disabled",
  ]);
  const registries = reader
    .tables(raw["registry"], "registry")
    .map((table, index) => readRegistry(table, `registry[${index}]`, reader));
  const prefixes = new Set<string>();
  for (const [index, { prefix }] of registries.entries()) {
    if (prefixes.has(prefix)) throw reader.refusal(`registry[${index}].prefix`, "is there twice");
    prefixes.add(prefix);
  }
  return {
    searched: readSearched(raw["unqualified-search-registries"], reader),
    registries,
    aliases: readAliases(raw["aliases"], reader),
  };
}

function readRegistry(raw: Table, at: string, reader: Reader): RegistryEntry {
  reader.refuseOthers(raw, `${at}.`, registryKeys);
  const location = reader.location(raw["location"], `${at}.location`);
  const prefix = reader.prefix(raw["prefix"], `${at}.prefix`) ?? location;
  if (prefix === undefined) throw reader.refusal(at, "needs a prefix or a location");
  const byDigest = reader.flag(raw["mirror-by-digest-only"], `${at}.mirror-by-digest-only`);
  const mirrors = reader.tables(raw["mirror"], `${at}.mirror`).map((mirror, index) => {
    const key = `${at}.mirror[${index}]`;
    if (byDigest && mirror["pull-from-mirror"] !== undefined) {
      throw reader.refusal(`${key}.pull-from-mirror`, "contradicts mirror-by-digest-only = true");
    }
    return readMirror(mirror, key, byDigest, reader);
  });
  const hasTag = !prefix.startsWith("*") && !locationGrammar.test(prefix);
  if (hasTag && (location !== undefined || mirrors.length > 0)) {
    throw reader.refusal(
      `${at}.prefix`,
      "with a tag or a digest cannot have a location or mirrors",
    );
  }
  return {
    prefix,
    location: location === prefix ? undefined : location,
    isBlocked: reader.flag(raw["blocked"], `${at}.blocked`),
    isInsecure: reader.flag(raw["insecure"], `${at}.insecure`),
    mirrors,
    file: reader.file,
  };
}

function readMirror(raw: Table, at: string, byDigest: boolean, reader: Reader): MirrorEntry {
  reader.refuseOthers(raw, `${at}.`, mirrorKeys);
  const location = reader.location(raw["location"], `${at}.location`);
  if (location === undefined) throw reader.refusal(`${at}.location`, "is missing");
  const key = `${at}.pull-from-mirror`;
  const given = reader.oneOf(raw["pull-from-mirror"] ?? "all", key, [
    "all",
    "digest-only",
    "tag-only",
  ]);
  const isInsecure = reader.flag(raw["insecure"], `${at}.insecure`);
  return { location, isInsecure, for: byDigest ? "digest-only" : given };
}

function readSearched(value: unknown, reader: Reader): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const key = "unqualified-search-registries";
  if (!Array.isArray(value)) throw reader.refusal(key, "must be a list of hosts");
  return value.map((one: unknown, index) => {
    const found = reader.location(one, `${key}[${index}]`);
    if (found !== undefined && !found.includes("/")) return found;
    throw reader.refusal(`${key}[${index}]`, "must be a host");
  });
}

function readAliases(value: unknown, reader: Reader): ReadonlyMap<string, string> {
  const table = asRecord(value ?? {});
  if (table === undefined) throw reader.refusal("aliases", "must be a table");
  const entries = Object.entries(table).map(([short, full]) => {
    const key = `aliases.${JSON.stringify(short)}`;
    if (!shortGrammar.test(short)) {
      throw reader.refusal(key, "must be a name without host and tag");
    }
    if (full === "") return [short, full] as const;
    if (typeof full === "string" && locationGrammar.test(full) && full.includes("/")) {
      return [short, full] as const;
    }
    throw reader.refusal(key, "must be a name with a host and without a tag, or empty");
  });
  reader.limit(entries.length, "aliases");
  return new Map(entries);
}

/** Reads values, each with its own refusal. */
class Reader {
  readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  refusal(key: string, why: string): RuntimeError {
    return new RuntimeError("failed-precondition", `read "${this.file}": key ${key} ${why}`);
  }

  limit(count: number, key: string): void {
    if (count <= maxEntries) return;
    throw this.refusal(key, `has ${count} entries, more than ${maxEntries}`);
  }

  refuseOthers(raw: Table, at: string, known: readonly string[]): void {
    const other = Object.keys(raw).find((key) => !known.includes(key));
    if (other === undefined) return;
    throw this.refusal(`${at}${other}`, `is unknown here, known are ${known.join(", ")}`);
  }

  tables(value: unknown, key: string): readonly Table[] {
    if (value === undefined) return [];
    const list = Array.isArray(value) ? value.map(asRecord) : [];
    const tables = list.filter((one) => one !== undefined);
    if (!Array.isArray(value) || tables.length !== value.length) {
      throw this.refusal(key, `must be written as [[${key.replace(/\[\d+\]/g, "")}]]`);
    }
    this.limit(tables.length, key);
    return tables;
  }

  flag(value: unknown, key: string): boolean {
    if (value === undefined) return false;
    if (typeof value === "boolean") return value;
    throw this.refusal(key, "must be true or false");
  }

  oneOf<T extends string>(value: unknown, key: string, allowed: readonly T[]): T {
    const found = allowed.find((one) => one === value);
    if (found !== undefined) return found;
    throw this.refusal(key, `must be one of ${allowed.map((one) => `"${one}"`).join(", ")}`);
  }

  location(value: unknown, key: string): string | undefined {
    const text = this.#text(value, key);
    if (text === undefined || locationGrammar.test(text)) return text;
    throw this.refusal(key, "must be HOST[:PORT][/PATH], without https://");
  }

  prefix(value: unknown, key: string): string | undefined {
    const text = this.#text(value, key);
    if (text === undefined || prefixGrammar.test(text) || wildcardGrammar.test(text)) return text;
    throw this.refusal(key, "must be HOST[:PORT][/PATH] or *.HOST, without https://");
  }

  /** Undefined for an empty text, too. */
  #text(value: unknown, key: string): string | undefined {
    if (value === undefined || value === "") return undefined;
    if (typeof value !== "string") throw this.refusal(key, "must be a text");
    return value.replace(/\/+$/, "");
  }
}

function parseToml(text: string, file: string): Table {
  try {
    return parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // The parser's message continues with an excerpt of the file; its first line is the reason.
    const [reason = ""] = cause.message.split("\n");
    const message = reason.replace(/^Invalid TOML document: /, "");
    const where = `line ${cause.line} is not valid TOML: ${message}`;
    throw new RuntimeError("failed-precondition", `read "${file}": ${where}`, { cause });
  }
}
