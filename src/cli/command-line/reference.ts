import { type Command, formatOperands, optionsOf, sections, serverOptions } from "./command.ts";
import { exitCodeDocs } from "./exit-code.ts";
import { optionUsage } from "./help.ts";

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
  return [
    "",
    `### davit ${command.name}`,
    "",
    `\`davit ${command.name}${Object.keys(optionsOf(command)).length === 0 ? "" : " [OPTIONS]"}${operands}\``,
    "",
    `${command.summary}.`,
    ...(command.details === undefined ? [] : ["", command.details]),
    ...(Object.keys(options).length === 0 ? [] : ["", ...optionTable(options)]),
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
    ...Object.entries(options).map(([name, spec]) => {
      const words = typeof spec.complete === "object" ? `: ${spec.complete.join(", ")}` : "";
      const many = spec.many === true && !spec.doc.includes("(repeatable)") ? " (repeatable)" : "";
      return `| \`${optionUsage(name, spec).replaceAll("|", "\\|")}\` | ${spec.doc}${words}${many} |`;
    }),
  ];
}
