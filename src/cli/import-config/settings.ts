import { parse, TomlError } from "smol-toml";
import { keyLines, lineOf } from "../../config/key-lines.ts";
import { ConfigError } from "../../config/load.ts";
import { isTable } from "../../config/setting.ts";
import type { NodeFiles } from "./node-files.ts";

/** Where a value is written. */
export interface Origin {
  readonly file: string;
  readonly line?: number | undefined;
  /** The key as the file has it. */
  readonly key: string;
}

/** A value of a configuration that is imported. */
export interface Given {
  /** The names of its tables and its own, after renaming. */
  readonly path: readonly string[];
  /** As the parser gives it: integers are bigint. Never a table. */
  readonly value: unknown;
  readonly origin: Origin;
}

/** No configuration has more values. */
const maxValues = 100_000;
const maxDepth = 32;

/** A parsed file: its tables, and its values one by one. */
export interface TomlFile {
  readonly table: Readonly<Record<string, unknown>>;
  readonly given: readonly Given[];
}

/** Reads a TOML file. Throws a ConfigError with file and line if it is not valid. */
export function readToml(files: NodeFiles, file: string): TomlFile {
  const text = files.read(file);
  const table = parseToml(text, file);
  const lines = keyLines(text);
  const given = leaves(table, []).map(({ path, value }) => ({
    path,
    value,
    origin: { file, line: lineOf(lines, path.join(".")), key: keyOf(path) },
  }));
  if (given.length <= maxValues) return { table, given };
  throw new ConfigError(file, [{ key: "", file, message: `it has more than ${maxValues} values` }]);
}

function parseToml(text: string, file: string): TomlFile["table"] {
  try {
    return parse(text, { integersAsBigInt: true, maxDepth });
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const [reason = ""] = cause.message.split("\n");
    const message = reason.replace(/^Invalid TOML document: /, "not valid TOML: ");
    throw new ConfigError(file, [{ key: "", file, message, line: cause.line }], { cause });
  }
}

function leaves(
  table: TomlFile["table"],
  above: readonly string[],
): readonly Pick<Given, "path" | "value">[] {
  return Object.entries(table).flatMap(([name, value]) => {
    const path = [...above, name];
    return isTable(value) ? leaves(value, path) : [{ path, value }];
  });
}

/** A path as TOML writes it. */
export function keyOf(path: readonly string[]): string {
  return path.map((name) => (/^[\w-]+$/.test(name) ? name : JSON.stringify(name))).join(".");
}

/** The values of all files of a configuration. A later value replaces an earlier one of the same path. */
export class Settings {
  readonly #given = new Map<string, Given>();

  set(given: Given): void {
    const key = JSON.stringify(given.path);
    this.#given.delete(key);
    this.#given.set(key, given);
  }

  get(...path: readonly string[]): Given | undefined {
    return this.#given.get(JSON.stringify(path));
  }

  /** The text at a path; "" if there is none. */
  text(...path: readonly string[]): string {
    const value = this.get(...path)?.value;
    return typeof value === "string" ? value : "";
  }

  /** In the order of the files. */
  get all(): readonly Given[] {
    return [...this.#given.values()];
  }

  /** The names of the tables and keys directly below a path, in order. */
  names(...above: readonly string[]): readonly string[] {
    return [...new Set(this.below(...above).map(({ path }) => path[above.length] ?? ""))];
  }

  /** All values below a path. */
  below(...above: readonly string[]): readonly Given[] {
    return this.all.filter(
      ({ path }) =>
        path.length > above.length && above.every((name, index) => path[index] === name),
    );
  }
}
