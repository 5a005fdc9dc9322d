import { stringify } from "smol-toml";
import type { Config, HandlerConfig } from "./config.ts";
import { defaultConfig } from "./load.ts";
import { builtInHandlers, handlerSection, sections, tomlKey, topLevel } from "./schema.ts";

const WIDTH = 100;

const PREFACE = [
  "# The configuration of davit. Every key has the default written here; leave out what need not",
  "# change. Check a file with: davit config check FILE",
];

/** The defaults as a TOML file with a sentence over each key. It reads back as the defaults. */
export function formatDefaultConfig(): string {
  return format(defaultConfig(), { explained: true });
}

/** A configuration as a TOML file that reads back as it. */
export function formatConfig(config: Config): string {
  return format(config, { explained: false });
}

interface Style {
  readonly explained: boolean;
}

function format(config: Config, style: Style): string {
  const lines = style.explained ? [...PREFACE, ""] : [];
  lines.push(...assignments(config, topLevel, style));
  for (const [name, section] of Object.entries(sections)) {
    lines.push("", ...comment(section.doc, style), `[${name}]`);
    lines.push(...assignments(config[name as keyof typeof sections], section.settings, style));
  }
  lines.push("", ...handlers(config, style));
  return `${lines.join("\n")}\n`;
}

/** All keys are explained at the first handler; the others show only what they have of their own. */
function handlers(config: Config, style: Style): readonly string[] {
  const blocks: string[] = [];
  const names = Object.keys(config.runtime.handlers);
  for (const [index, name] of names.entries()) {
    const handler = config.runtime.handlers[name];
    if (handler === undefined) continue;
    if (index > 0) blocks.push("");
    blocks.push(`[runtime.handlers.${keyText(name)}]`);
    blocks.push(...handlerLines(handler, { explained: style.explained && index === 0 }));
  }
  for (const name of Object.keys(builtInHandlers)) {
    if (names.includes(name)) continue;
    blocks.push("", `[runtime.handlers.${keyText(name)}]`, "enabled = false");
  }
  return blocks;
}

function handlerLines(handler: HandlerConfig, style: Style): readonly string[] {
  const table: Readonly<Record<string, unknown>> = { enabled: true, ...handler };
  return Object.entries(handlerSection).flatMap(([field, setting]) => {
    const value = table[field];
    const asDefault = toml(value) === toml(setting.default) && field !== "controller";
    if (asDefault && !style.explained) return [];
    const line = `${tomlKey(field)} = ${toml(value)}`;
    return [...comment(setting.doc, style), asDefault ? `# ${line}` : line];
  });
}

function assignments(values: object, section: object, style: Style): readonly string[] {
  const docs = new Map(Object.entries(section as Record<string, { readonly doc: string }>));
  const given = new Map(Object.entries(values));
  return [...docs].flatMap(([field, { doc }]) => [
    ...comment(doc, style),
    `${tomlKey(field)} = ${toml(given.get(field))}`,
  ]);
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

/** A value as it stands behind "=": tables in one line, which `stringify` would not do by itself. */
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
