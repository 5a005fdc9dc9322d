// The configuration of davit: a TOML file becomes one frozen, validated value. This directory may
// import only base, and only daemon/, doctor/ and cli/ may import it, so that everything below them gets
// plain values. Start at `loadConfig`; the settings are in schema.ts.

import { readFileSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import { RuntimeError, messageOf } from "../base/errors.ts";
import type { Config } from "./config.ts";
import type { Finding } from "./finding.ts";
import { checkCombinations, readConfig } from "./read.ts";
import { keyLines, lineOf } from "./key-lines.ts";

/** A configuration that is invalid, with all of its errors. */
export class ConfigError extends RuntimeError {
  readonly file: string;
  /** In the order of the file; the line is known for nearly all of them. */
  readonly findings: readonly (Finding & { readonly line?: number | undefined })[];

  constructor(file: string, findings: ConfigError["findings"], options?: { cause: unknown }) {
    const all = findings.map(({ message, line }) =>
      line === undefined ? message : `${message} (line ${line})`,
    );
    super("invalid-argument", `read configuration "${file}": ${all.join("; ")}`, options);
    this.name = "ConfigError";
    this.file = file;
    this.findings = findings;
  }

  /** Each finding as FILE:LINE: MESSAGE, as compilers print errors. */
  get lines(): readonly string[] {
    return this.findings.map(
      ({ line, message }) => `${this.file}${line === undefined ? "" : `:${line}`}: ${message}`,
    );
  }
}

/**
 * Reads and checks a configuration file; without a path, the defaults.
 *
 * Throws a ConfigError with all errors of the file, and a RuntimeError of kind
 * `not-found` or `permission-denied` when the file cannot be read.
 */
export function loadConfig(path: string | undefined): Config {
  return path === undefined ? defaultConfig() : parseConfig(readText(path), path);
}

/** The configuration that an empty file gives. */
export function defaultConfig(): Config {
  return parseConfig("", "the defaults");
}

/** As loadConfig, for the text of a file; `file` is its name in errors. */
export function parseConfig(toml: string, file: string): Config {
  const raw = parseToml(toml, file);
  const findings: Finding[] = [];
  const config = readConfig(raw, findings);
  // Combinations are checked only when each value is valid.
  if (findings.length === 0) checkCombinations(config, findings);
  if (findings.length === 0) return deepFreeze(config);

  const lines = keyLines(toml);
  const located = findings.map((finding) => ({ ...finding, line: lineOf(lines, finding.key) }));
  located.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
  throw new ConfigError(file, located);
}

function parseToml(toml: string, file: string): Readonly<Record<string, unknown>> {
  try {
    return parse(toml, { integersAsBigInt: true });
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // The first line of the parser's message is the reason; an excerpt of the text follows.
    const [reason = ""] = cause.message.split("\n");
    const message = reason.replace(/^Invalid TOML document: /, "not valid TOML: ");
    throw new ConfigError(file, [{ key: "", message, line: cause.line }], { cause });
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT") {
      throw new RuntimeError(
        "not-found",
        `read configuration "${path}": no such file; "davit config default" prints one to start from`,
        {
          cause,
        },
      );
    }
    if (code === "EISDIR") {
      const text = `read configuration "${path}": it is a directory; pass the path of a file`;
      throw new RuntimeError("invalid-argument", text, { cause });
    }
    const kind = code === "EACCES" || code === "EPERM" ? "permission-denied" : "unknown";
    throw new RuntimeError(kind, `read configuration "${path}": ${messageOf(cause)}`, { cause });
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
