import { toml } from "./format.ts";
import { builtInHandlers, handlerSection, sections, tomlKey, topLevel } from "./schema.ts";
import type { Setting } from "./setting.ts";

const PREFACE = `# Configuration

One TOML file, \`/etc/davit/davit.toml\` or the one that \`davit serve --config FILE\` names. Every key has
a default: an empty file, or none, is a configuration. \`davit config default\` prints a file with all
keys, \`davit config check FILE\` finds everything that is wrong in one, and \`davit config show FILE\` prints
what results from it. Unknown keys are refused, with the name that was probably meant. A changed file
is read at the next start of the daemon; pods and containers go on meanwhile. SIGHUP (\`systemctl reload
davit\`) has it read \`log.level\` again, and say in its log what waits for a restart.

Written by \`npm run generate\` from \`src/config/schema.ts\`: edit that.`;

/** The reference of all settings, docs/configuration.md, in Markdown. */
export function formatReference(): string {
  const blocks = [PREFACE, "## Top level", ...entries("", topLevel)];
  for (const [name, section] of Object.entries(sections)) {
    blocks.push(`## [${name}]`, section.doc, ...entries(`${name}.`, section.settings));
  }
  const named = Object.entries(builtInHandlers).map(
    ([name, { path = "" }]) => `\`${name}\` (path = ${toml(path)})`,
  );
  blocks.push(
    "## [runtime.handlers.NAME]",
    `What a pod whose RuntimeClass has the handler NAME is run by. Without a file there are ${named.join(" and ")}; a file adds to them and changes them key by key.`,
    ...entries("", handlerSection),
  );
  return `${blocks.join("\n\n")}\n`;
}

function entries(prefix: string, section: object): readonly string[] {
  const settings = Object.entries(section as Readonly<Record<string, Setting<unknown>>>);
  return settings.map(([field, setting]) =>
    [
      `### \`${prefix}${tomlKey(field)}\``,
      setting.doc,
      [`- default: \`${toml(setting.default)}\``, ...allowedWords(setting)].join("\n"),
    ].join("\n\n"),
  );
}

/** What a setting takes, in the words of its own error. */
function allowedWords(setting: Setting<unknown>): readonly string[] {
  const reading = setting.read(undefined);
  return "allowed" in reading ? [`- takes ${reading.allowed}`] : [];
}
