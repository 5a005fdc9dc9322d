import { isDeepStrictEqual } from "node:util";
import type { Config, HandlerConfig } from "./config.ts";
import { toml } from "./format.ts";
import { tomlKey } from "./schema.ts";
import { withoutSecrets } from "./without-secrets.ts";

/** A key whose value differs between two configurations. */
export interface ChangedKey {
  /** As the file writes it: `log.level`. */
  readonly key: string;
  /** As the file writes them, with `***` in place of credentials; "none" for a handler that there is not. */
  readonly before: string;
  readonly after: string;
}

/** The most of a value that is shown. */
const maxText = 200;
/** Tables with names of the administrator. */
const freeTables: ReadonlySet<string> = new Set(["headers", "options", "defaultAnnotations"]);

type Values = ReadonlyMap<string, unknown>;

/** The keys whose values differ between two configurations. */
export function changedKeys(before: Config, after: Config): readonly ChangedKey[] {
  const shown = [withoutSecrets(before), withoutSecrets(after)] as const;
  return [...differences(before, after, [])].map((path) => ({
    key: path.map((name, at) => (isHandlerName(path, at) ? name : tomlKey(name))).join("."),
    before: textOf(valueAt(shown[0], path)),
    after: textOf(valueAt(shown[1], path)),
  }));
}

/** The paths of the fields that differ. */
function* differences(
  before: object,
  after: object,
  at: readonly string[],
): Iterable<readonly string[]> {
  const [old, now]: readonly [Values, Values] = [valuesOf(before), valuesOf(after)];
  for (const field of new Set([...old.keys(), ...now.keys()])) {
    const [value, other, path] = [old.get(field), now.get(field), [...at, field]];
    const isTable = isSection(value) && isSection(other) && !freeTables.has(field);
    if (isTable) yield* differences(value, other, path);
    else if (!isDeepStrictEqual(value, other)) yield path;
  }
}

function isHandlerName(path: readonly string[], at: number): boolean {
  return at === 2 && path[1] === "handlers";
}

function valueAt(config: Config, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, name) => (isSection(value) ? valuesOf(value).get(name) : undefined),
    config,
  );
}

function textOf(value: unknown): string {
  if (value === undefined) return "none";
  const text = isHandler(value) ? handlerText(value) : toml(value);
  return text.length <= maxText ? text : `${text.slice(0, maxText)}...`;
}

/** What runs the containers of a handler that is new or removed. */
function handlerText({ path, runtimeType }: HandlerConfig): string {
  return toml(path === "" ? { runtime_type: runtimeType } : { path });
}

function isHandler(value: unknown): value is HandlerConfig {
  return isSection(value) && "runtimeType" in value;
}

function valuesOf(table: object): Values {
  return new Map<string, unknown>(Object.entries(table));
}

function isSection(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
