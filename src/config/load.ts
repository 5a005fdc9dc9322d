// The configuration of davit: a TOML file becomes one frozen, validated value. This directory may
// import only base, and only daemon/, doctor/ and cli/ may import it, so that everything below them gets
// plain values. Start at `loadConfig`; the settings are in schema.ts.

import { parse, TomlError } from "smol-toml";
import { RuntimeError } from "../base/errors.ts";
import type { Config } from "./config.ts";
import type { Finding } from "./finding.ts";
import { keyLines, lineOf } from "./key-lines.ts";
import { mergeTables } from "./merge.ts";
import { checkCombinations, readConfig } from "./read.ts";
import { isTable } from "./setting.ts";
import { type ConfigSource, readSources } from "./sources.ts";

/** Where a key is in the files of a configuration. */
export interface KeyOrigin {
  readonly file: string;
  /** From 1; unknown only for a file that cannot be read. */
  readonly line?: number | undefined;
}

type LocatedFinding = Finding & KeyOrigin;
type Table = Readonly<Record<string, unknown>>;

/** A configuration that is invalid, with all of its errors. */
export class ConfigError extends RuntimeError {
  readonly file: string;
  /** In the order of the files; the line is known for nearly all of them. */
  readonly findings: readonly LocatedFinding[];

  constructor(file: string, findings: readonly LocatedFinding[], options?: { cause: unknown }) {
    const all = findings.map((finding) => `${finding.message}${place(finding, file)}`);
    super("invalid-argument", `read configuration "${file}": ${all.join("; ")}`, options);
    this.name = "ConfigError";
    this.file = file;
    this.findings = findings;
  }

  /** Each finding as FILE:LINE: MESSAGE, as compilers print errors. */
  get lines(): readonly string[] {
    return this.findings.map((finding) => `${formatOrigin(finding)}: ${finding.message}`);
  }
}

/** FILE:LINE, as compilers print it. */
export function formatOrigin({ file, line }: KeyOrigin): string {
  return line === undefined ? file : `${file}:${line}`;
}

/** A configuration with the files that it is from. */
export interface LoadedConfig {
  readonly config: Config;
  /** In the order in which they were merged. Empty for the defaults. */
  readonly files: readonly string[];
  /** Where the value in use of a key is, by the names of its tables and its own: undefined for a default. */
  readonly originOf: (path: readonly string[]) => KeyOrigin | undefined;
}

/**
 * Reads and checks a configuration file with its drop-ins (see readSources); without a path, the defaults.
 *
 * Throws a ConfigError with all errors of the files, and a RuntimeError of kind
 * `not-found` or `permission-denied` when the file cannot be read.
 */
export function loadConfig(path: string | undefined): Config {
  return loadWithOrigins(path).config;
}

/** As loadConfig, with the origins of the values. */
export function loadWithOrigins(path: string | undefined): LoadedConfig {
  if (path === undefined) return parseSources([], "the defaults");
  const { sources, unreadable } = readSources(path);
  return parseSources(
    sources,
    path,
    unreadable.map(({ file, message }) => ({
      key: "",
      file,
      message: `cannot be read: ${message}`,
    })),
  );
}

/** The configuration that an empty file gives. */
export function defaultConfig(): Config {
  return parseConfig("", "the defaults");
}

/** As loadConfig, for the text of a file; `file` is its name in errors. */
export function parseConfig(toml: string, file: string): Config {
  return parseSources([{ file, text: toml }], file).config;
}

/** The files of one configuration, the first one with the lowest priority; `problems` are those found before. */
export function parseSources(
  sources: readonly ConfigSource[],
  name: string,
  problems: readonly LocatedFinding[] = [],
): LoadedConfig {
  const invalid = [...problems];
  const tables = sources.map((source) => parseToml(source, invalid));
  const [first] = invalid;
  // What is wrong with the other keys is unknown without a whole file.
  if (first !== undefined) throw new ConfigError(name, invalid);
  const raw = mergeTables(tables);
  const findings: Finding[] = [];
  const config = readConfig(raw, findings);
  // Combinations are checked only when each value is valid.
  if (findings.length === 0) checkCombinations(config, findings);
  const locate = locator(sources);
  if (findings.length > 0) throw new ConfigError(name, located(findings, sources, locate, name));
  return {
    config: deepFreeze(config),
    files: sources.map(({ file }) => file),
    originOf: (path) => (isGiven(raw, path) ? locate(path.join(".")) : undefined),
  };
}

function parseToml({ file, text }: ConfigSource, invalid: LocatedFinding[]): Table {
  try {
    return parse(text, { integersAsBigInt: true });
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // The first line of the parser's message is the reason; an excerpt of the text follows.
    const [reason = ""] = cause.message.split("\n");
    const message = reason.replace(/^Invalid TOML document: /, "not valid TOML: ");
    invalid.push({ key: "", file, message, line: cause.line });
    return {};
  }
}

/** The errors in the order of the files. One that no file has, as of an empty file, is of the configuration. */
function located(
  findings: readonly Finding[],
  sources: readonly ConfigSource[],
  locate: (key: string) => KeyOrigin | undefined,
  name: string,
): readonly LocatedFinding[] {
  const order = new Map(sources.map(({ file }, index) => [file, index]));
  return findings
    .map((finding) => ({ ...finding, ...(locate(finding.key) ?? { file: name }) }))
    .sort((a: LocatedFinding, b: LocatedFinding) => {
      const byFile = (order.get(a.file) ?? 0) - (order.get(b.file) ?? 0);
      return byFile === 0 ? (a.line ?? 0) - (b.line ?? 0) : byFile;
    });
}

/**
 * Finds a key, or the innermost table around it that a file has. Of several files the last one counts, whose value
 * is in use.
 */
function locator(sources: readonly ConfigSource[]): (key: string) => KeyOrigin | undefined {
  const files = sources.map(({ file, text }) => ({ file, lines: keyLines(text) })).reverse();
  return (key) => {
    for (let path = key; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
      const found = files.find(({ lines }) => lines.has(path));
      if (found !== undefined) return { file: found.file, line: lineOf(found.lines, path) };
    }
    return undefined;
  };
}

function isGiven(raw: Table, path: readonly string[]): boolean {
  let at: unknown = raw;
  for (const name of path) {
    if (!isTable(at) || !Object.hasOwn(at, name)) return false;
    at = at[name];
  }
  return true;
}

function place({ file, line }: KeyOrigin, main: string): string {
  if (file !== main) return ` (${formatOrigin({ file, line })})`;
  return line === undefined ? "" : ` (line ${line})`;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
