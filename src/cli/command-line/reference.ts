import { aliases, aliasesOf } from "./aliases.ts";
import {
  type Command,
  formatOperands,
  optionsOf,
  sections,
  serverOptions,
  shownOptions,
} from "./command.ts";
import { exitCodeDocs } from "./exit-code.ts";
import { optionUsage } from "./help.ts";
import { otherTools } from "./other-tools.ts";

/** The line of docs/cli.md after which the generated part begins. */
export const referenceMark =
  "<!-- The rest is generated from the table of commands: see the test of reference.ts. -->";

/** The reference of all commands in Markdown, for docs/cli.md. */
export function formatReference(commands: readonly Command[]): string {
  const shown = commands.filter(({ hidden }) => hidden !== true);
  return [
    "## Exit codes",
    "",
    "| code | meaning |",
    "|---|---|",
    ...exitCodeDocs.map(([code, doc]) => `| ${code} | ${doc} |`),
    "",
    "## Options of all commands that connect to a server",
    "",
    ...optionTable(serverOptions),
    ...sections.flatMap((section) => {
      const own = shown.filter((command) => command.section === section);
      return own.length === 0 ? [] : ["", `## ${section}`, ...own.flatMap(commandLines)];
    }),
    "",
  ].join("\n");
}

function commandLines(command: Command): readonly string[] {
  const operands = command.operands.length === 0 ? "" : ` ${formatOperands(command)}`;
  const { options } = command;
  const aliases = aliasesOf(command).map((alias) => `\`${alias}\``);
  return [
    "",
    `### davit ${command.name}`,
    "",
    `\`davit ${command.name}${Object.keys(optionsOf(command)).length === 0 ? "" : " [OPTIONS]"}${operands}\``,
    "",
    `${command.summary}.`,
    ...(command.details === undefined ? [] : ["", command.details]),
    ...(aliases.length === 0 ? [] : ["", `Aliases: ${aliases.join(", ")}.`]),
    ...(shownOptions(options).length === 0 ? [] : ["", ...optionTable(options)]),
    "",
    "```sh",
    ...command.examples.map(({ line, does }) => `${line}   # ${does}`),
    "```",
  ];
}

function optionTable(options: Command["options"]): readonly string[] {
  return [
    "| option | description |",
    "|---|---|",
    ...shownOptions(options).map(([name, spec]) => {
      const words = typeof spec.complete === "object" ? `: ${spec.complete.join(", ")}` : "";
      const many = spec.many === true && !spec.doc.includes("(repeatable)") ? " (repeatable)" : "";
      return `| \`${optionUsage(name, spec).replaceAll("|", "\\|")}\` | ${spec.doc}${words}${many} |`;
    }),
  ];
}

/** The line of docs/coming-from.md after which the generated part begins. */
export const wordsMark =
  "<!-- The rest is generated from the tables of aliases and hints: see the test of reference.ts. -->";

/** The words of other tools in Markdown, for docs/coming-from.md: what they mean here, and what davit says. */
export function formatWords(): string {
  const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``;
  // In a table, the quotes of a message would be those of the text: its commands are set as code.
  const set = (text: string): string => text.replace(/"([^"]+)"/g, (_, line: string) => code(line));
  return [
    "These do what they do in the other tool:",
    "",
    "| words | davit |",
    "|---|---|",
    ...Object.entries(aliases).map(
      ([words, meant]) => `| ${code(words)} | ${code(`davit ${meant}`)} |`,
    ),
    "",
    "For these davit prints what to use instead:",
    "",
    "| word | answer |",
    "|---|---|",
    ...Object.entries(otherTools).map(([words, instead]) => `| ${code(words)} | ${set(instead)} |`),
    "",
  ].join("\n");
}
