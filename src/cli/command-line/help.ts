import { aliases, aliasesOf, aliasWordsAfter } from "./aliases.ts";
import {
  type Command,
  formatOperands,
  type OptionSpec,
  sections,
  serverOptions,
  shownOptions,
} from "./command.ts";
import { exitCodeDocs } from "./exit-code.ts";
import type { Style } from "../output/terminal.ts";
import { wrapWords } from "../output/wrap.ts";

type Row = readonly [string, string];

/** The list of all commands, or of those in a group such as "config". */
export function formatCommandList(
  commands: readonly Command[],
  style: Style,
  group?: string,
): string {
  const shown = commands.filter(
    ({ name, hidden }) => hidden !== true && (group === undefined || name.startsWith(`${group} `)),
  );
  const also =
    group === undefined ? [] : aliasWordsAfter(group).map((word) => aliasRow(group, word));
  const width = widthOf([...shown.map(summaryRow), ...also]);
  const list = (title: string, rows: readonly Row[]): readonly string[] =>
    rows.length === 0 ? [] : [style.bold(`${title}:`), ...table(rows, width), ""];
  const lists = sections.flatMap((section) =>
    list(section, shown.filter((command) => command.section === section).map(summaryRow)),
  );
  const lines = [
    "davit runs the pods and containers of a Kubernetes node (CRI runtime.v1).",
    "",
    `${style.bold("Usage:")} davit ${group ?? "COMMAND"} ${group === undefined ? "" : "COMMAND "}[OPTIONS]`,
    "",
    ...lists,
    ...list("Aliases", also),
    ...(group === undefined ? generalHelp(style) : []),
    'Use "davit help COMMAND" for details and examples of a command.',
  ];
  return `${lines.join("\n")}\n`;
}

/** The variables of the environment, each with its description. */
export const environment: readonly Row[] = [
  ["DAVIT_ENDPOINT", "CRI socket of the server, if --endpoint is not set"],
  ["NO_COLOR", "Disable colors, which are only used in a terminal"],
];

function generalHelp(style: Style): readonly string[] {
  return [
    style.bold("Options of all commands that connect to a server:"),
    ...table(Object.entries(serverOptions).map(optionRow)),
    "",
    style.bold("Environment:"),
    ...table(environment),
    "",
    style.bold("Exit codes:"),
    ...table(exitCodeDocs.map(([code, doc]) => [String(code).padStart(3), doc])),
    "",
  ];
}

/** The details are not wider than this in a wide terminal, where long lines are hard to read. */
const detailsWidth = 100;

/** The help of a command for a terminal of this width; undefined for a pipe. */
export function formatCommand(command: Command, style: Style, terminalWidth?: number): string {
  const operands = command.operands.length === 0 ? "" : ` ${formatOperands(command)}`;
  const own = shownOptions(command.options).map(optionRow);
  const shared = command.client === true ? Object.entries(serverOptions) : [];
  const also = aliasesOf(command);
  const general = shared.filter(([name]) => !(name in command.options)).map(optionRow);
  const help: Row = ["-h, --help", "Show this help"];
  const width = widthOf([...own, ...general, help]);
  const lines = [
    `${command.summary}.`,
    ...(command.details === undefined ? [] : ["", ...wrapDetails(command.details, terminalWidth)]),
    "",
    `${style.bold("Usage:")} davit ${command.name} [OPTIONS]${operands}`,
    ...(also.length === 0 ? [] : [`${style.bold("Aliases:")} ${also.join(", ")}`]),
    "",
    style.bold("Options:"),
    ...table([...own, ...general, help], width),
    "",
    style.bold("Examples:"),
    ...command.examples.flatMap(({ line, does }) => [`  ${style.dim(`# ${does}`)}`, `  ${line}`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** Line breaks in details are those of the source: only the terminal's count. */
function wrapDetails(details: string, terminalWidth = detailsWidth): readonly string[] {
  return wrapWords(details.replaceAll("\n", " "), Math.min(terminalWidth, detailsWidth));
}

function summaryRow({ name, summary }: Command): Row {
  return [name, summary];
}

function aliasRow(group: string, word: string): Row {
  const name = `${group} ${word}`;
  return [name, `The same as davit ${aliases[name] ?? ""}`];
}

/** An option in the notation of help and reference: `-n, --namespace NAME`. */
export function optionUsage(name: string, { short, value }: OptionSpec): string {
  const long = value === undefined ? `--${name}` : `--${name} ${value}`;
  return short === undefined ? long : `-${short}, ${long}`;
}

function optionRow([name, spec]: readonly [string, OptionSpec]): Row {
  const words = typeof spec.complete === "object" ? `: ${spec.complete.join(", ")}` : "";
  return [optionUsage(name, spec), `${spec.doc}${words}`];
}

function widthOf(rows: readonly Row[]): number {
  return Math.max(0, ...rows.map(([left]) => left.length));
}

function table(rows: readonly Row[], width = widthOf(rows)): readonly string[] {
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
