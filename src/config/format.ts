import { stringify } from "smol-toml";
import type { Config, HandlerConfig, SignerIdentity } from "./config.ts";
import { defaultConfig } from "./load.ts";
import { builtInHandlers, handlerSection, sections, tomlKey, topLevel } from "./schema.ts";
import { nriValidator, nriValidatorDoc } from "./nri-settings.ts";
import { policySection, verificationDoc, verificationSection } from "./verification-settings.ts";

const WIDTH = 100;

const PREFACE = [
  "# The configuration of davit. All keys have their default values; remove the keys that you do not",
  "# change. To check a file, run: davit config check FILE",
];

/** The defaults as a TOML file with a comment above each key. Parsing it gives the defaults again. */
export function formatDefaultConfig(): string {
  return format(defaultConfig(), { explained: true });
}

/** The comment behind a key, by the names of its tables and its own. */
export type KeyNote = (path: readonly string[]) => string;

/**
 * A configuration as a TOML file. Parsing it gives the same configuration again. With `note`, each key is followed
 * by a comment.
 */
export function formatConfig(config: Config, note?: KeyNote): string {
  return format(config, { explained: false, note });
}

interface Style {
  /** Whether to write comments above the keys. */
  readonly explained: boolean;
  /** Makes a comment behind each key. */
  readonly note?: KeyNote | undefined;
}

function format(config: Config, style: Style): string {
  const lines = style.explained ? [...PREFACE, ""] : [];
  lines.push(...assignments(config, topLevel, [], style));
  for (const [name, section] of Object.entries(sections)) {
    lines.push("", ...comment(section.doc, style), `[${name}]`);
    const values = config[name as keyof typeof sections];
    lines.push(...assignments(values, section.settings, [name], style));
  }
  lines.push("", ...verification(config, style), "", ...validator(config, style));
  lines.push("", ...handlers(config, style));
  return `${lines.join("\n")}\n`;
}

function verification({ images }: Config, style: Style): readonly string[] {
  const path = ["images", "verification"];
  const at = path.join(".");
  const { policies } = images.verification;
  const table = [`[${at}]`, ...assignments(images.verification, verificationSection, path, style)];
  const lines = policies.flatMap((policy) => [
    "",
    noted(`[[${at}.policies]]`, [...path, "policies"], style),
    ...assignments({ ...policy, identities: policy.identities.map(identity) }, policySection, [], {
      explained: false,
    }),
  ]);
  return [...comment(verificationDoc, style), ...table, ...lines];
}

function validator({ nri }: Config, style: Style): readonly string[] {
  const path = ["nri", "default_validator"];
  const table = assignments(nri.defaultValidator, nriValidator, path, style);
  return [...comment(nriValidatorDoc, style), "[nri.default_validator]", ...table];
}

function identity({ issuer, subject, subjectRegexp }: SignerIdentity): object {
  return subject === "" ? { issuer, subject_regexp: subjectRegexp } : { issuer, subject };
}

/** The first handler shows and explains all keys; the others show only values that are not defaults. */
function handlers(config: Config, style: Style): readonly string[] {
  const blocks: string[] = [];
  const names = Object.keys(config.runtime.handlers);
  for (const [index, name] of names.entries()) {
    const handler = config.runtime.handlers[name];
    if (handler === undefined) continue;
    if (index > 0) blocks.push("");
    blocks.push(`[runtime.handlers.${keyText(name)}]`);
    blocks.push(
      ...handlerLines(name, handler, { ...style, explained: style.explained && index === 0 }),
    );
  }
  for (const name of Object.keys(builtInHandlers)) {
    if (names.includes(name)) continue;
    blocks.push("", `[runtime.handlers.${keyText(name)}]`, "enabled = false");
  }
  return blocks;
}

function handlerLines(name: string, handler: HandlerConfig, style: Style): readonly string[] {
  const table: Readonly<Record<string, unknown>> = { enabled: true, ...handler };
  return Object.entries(handlerSection).flatMap(([field, setting]) => {
    const value = table[field];
    const isDefault = toml(value) === toml(setting.default) && field !== "controller";
    if (isDefault && !style.explained) return [];
    const line = `${tomlKey(field)} = ${toml(value)}`;
    const path = ["runtime", "handlers", name, tomlKey(field)];
    return [...comment(setting.doc, style), isDefault ? `# ${line}` : noted(line, path, style)];
  });
}

function assignments(
  values: object,
  section: object,
  at: readonly string[],
  style: Style,
): readonly string[] {
  const docs = new Map(Object.entries(section as Record<string, { readonly doc: string }>));
  const given = new Map(Object.entries(values));
  return [...docs].flatMap(([field, { doc }]) => [
    ...comment(doc, style),
    noted(`${tomlKey(field)} = ${toml(given.get(field))}`, [...at, tomlKey(field)], style),
  ]);
}

function noted(line: string, path: readonly string[], { note }: Style): string {
  return note === undefined ? line : `${line}  # ${note(path)}`;
}

function comment(doc: string, style: Style): readonly string[] {
  if (!style.explained) return [];
  const lines: string[] = [];
  let line = "#";
  for (const word of doc.split(" ")) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = "#";
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** A value as TOML writes it after "=". Tables are inline, which `stringify` does not do by itself. */
export function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const items = Object.entries(value).map(([name, item]) => `${keyText(name)} = ${toml(item)}`);
    return items.length === 0 ? "{}" : `{ ${items.join(", ")} }`;
  }
  return stringify({ v: value }).trim().slice("v = ".length);
}

function keyText(name: string): string {
  return /^[\w-]+$/.test(name) ? name : JSON.stringify(name);
}
