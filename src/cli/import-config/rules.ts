import { toml } from "../../config/format.ts";
import type { Draft } from "./draft.ts";
import type { Given, Settings } from "./settings.ts";
import { pathOf } from "./values.ts";

/** What one key of a configuration that is imported is in davit. */
export interface Rule {
  /** Dotted; `*` is any name, and `**` at the end anything below. */
  readonly key: string;
  /** The values that the other runtime has by default: they are not mentioned. */
  readonly defaults: readonly unknown[];
  /** `names` are those that `*` matched. */
  readonly apply: (given: Given, draft: Draft, names: readonly string[]) => void;
}

/** What says nothing where a default is not given. */
const empty: readonly unknown[] = [false, 0n, "", "0", "0s", [], {}];

/** The value is that of `ours`, in which `*` is a name of `key`, with the same meaning. */
export function same(key: string, ours: string, ...defaults: readonly unknown[]): Rule {
  return converted(key, ours, (value) => value, ...defaults);
}

/** As `same`, for a path, which may end with a slash. */
export function samePath(key: string, ours: string, ...defaults: readonly unknown[]): Rule {
  return converted(key, ours, pathOf, ...defaults);
}

/** As `same`, with the value that `convert` gives; undefined where it cannot be read. */
export function converted(
  key: string,
  ours: string,
  convert: (value: unknown) => unknown,
  ...defaults: readonly unknown[]
): Rule {
  const apply: Rule["apply"] = (given, draft, names) => {
    const rest = [...names];
    const path = ours.split(".").map((part) => (part === "*" ? (rest.shift() ?? "") : part));
    const value = convert(given.value);
    if (value === undefined) draft.note(given, "the value is not understood");
    else draft.set(path, value, given.origin);
  };
  return { key, defaults: orEmpty(defaults), apply };
}

/** There is no counterpart: `reason` says why it is not needed, or what to do. */
export function none(key: string, reason: string, ...defaults: readonly unknown[]): Rule {
  const apply: Rule["apply"] = (given, draft) => draft.note(given, reason);
  return { key, defaults: orEmpty(defaults), apply };
}

/** As `none`, for a value that may be a secret. */
export function secret(key: string, reason: string): Rule {
  const apply: Rule["apply"] = ({ origin }, draft) => draft.noteKey(origin, reason);
  return { key, defaults: empty, apply };
}

/** Whatever the value is. */
export function special(key: string, apply: Rule["apply"], ...defaults: readonly unknown[]): Rule {
  return { key, defaults: orEmpty(defaults), apply };
}

/** Not mentioned: it says nothing to an operator, or is read elsewhere. */
export function quiet(key: string): Rule {
  return { key, defaults: [], apply: () => undefined };
}

function orEmpty(defaults: readonly unknown[]): readonly unknown[] {
  return defaults.length === 0 ? empty : defaults;
}

/** Applies to each value the first rule that is for it. */
export function applyRules(
  rules: readonly Rule[],
  settings: Settings,
  draft: Draft,
  runtime: string,
): void {
  const parts = rules.map((rule) => ({ rule, pattern: rule.key.split(".") }));
  for (const given of settings.all) {
    const found = parts.find(({ pattern }) => matches(pattern, given.path) !== undefined);
    if (found === undefined) {
      draft.note(given, `this key of ${runtime} is not known here; davit has no counterpart`);
      continue;
    }
    const { rule, pattern } = found;
    const text = toml(given.value);
    if (rule.defaults.some((value) => toml(value) === text)) continue;
    rule.apply(given, draft, matches(pattern, given.path) ?? []);
  }
}

function matches(
  pattern: readonly string[],
  path: readonly string[],
): readonly string[] | undefined {
  const names: string[] = [];
  for (const [index, part] of pattern.entries()) {
    if (part === "**") return path.length > index ? names : undefined;
    const name = path[index];
    if (name === undefined || (part !== "*" && part !== name)) return undefined;
    if (part === "*") names.push(name);
  }
  return pattern.length === path.length ? names : undefined;
}
