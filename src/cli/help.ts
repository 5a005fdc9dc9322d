import type { Command } from "./command.ts";
import type { Style } from "./terminal.ts";

/** The list of commands: all of them, or those of a group such as "config". */
export function formatCommandList(
  commands: readonly Command[],
  style: Style,
  group?: string,
): string {
  const shown = commands.filter(
    ({ name, hidden }) => hidden !== true && (group === undefined || name.startsWith(`${group} `)),
  );
  const rows = shown.map(({ name, summary }): [string, string] => [name, summary]);
  const lines = [
    "davit runs the pods and containers of a Kubernetes node (CRI runtime.v1).",
    "",
    `${style.bold("Usage:")} davit ${group ?? "COMMAND"} ${group === undefined ? "" : "COMMAND "}[OPTIONS]`,
    "",
    style.bold("Commands:"),
    ...table(rows),
    "",
    style.bold("Examples:"),
    ...table(shown.flatMap(({ examples }) => examples.slice(0, 1)).map(asRow)),
    "",
    "davit help COMMAND tells more. Exit codes: 0 done, 1 failed, 2 wrong command line.",
  ];
  return `${lines.join("\n")}\n`;
}

/** What there is to know about one command. */
export function formatCommand(command: Command, style: Style): string {
  const operands = command.operands === "" ? "" : ` ${command.operands}`;
  const lines = [
    `${command.summary}.`,
    ...(command.details === undefined ? [] : ["", command.details]),
    "",
    `${style.bold("Usage:")} davit ${command.name} [OPTIONS]${operands}`,
    "",
    style.bold("Options:"),
    ...table([
      ...Object.entries(command.options).map(([name, { value, doc }]): [string, string] => [
        value === undefined ? `--${name}` : `--${name} ${value}`,
        doc,
      ]),
      ["-h, --help", "Show this"],
    ]),
    "",
    style.bold("Examples:"),
    ...table(command.examples.map(asRow)),
  ];
  return `${lines.join("\n")}\n`;
}

function asRow(example: Command["examples"][number]): [string, string] {
  return [example.line, example.does];
}

function table(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
