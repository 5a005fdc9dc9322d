import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { nearest } from "../config/nearest.ts";
import type { Terminal } from "./terminal.ts";

/** What the process ends with. */
export const exitCode = { done: 0, failed: 1, usage: 2 } as const;

/** One option of a command, as a person types and reads it. */
export interface OptionSpec {
  /** The word for its value in the help, as FILE; without one the option is a switch. */
  readonly value?: string;
  readonly doc: string;
}

/** One thing davit can be asked to do. */
export interface Command {
  /** The words that select it: "serve", "config check". */
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What more there is to know, in the command's own help. */
  readonly details?: string;
  /** The operands, as the help shows them: "FILE", "[FILE]", or "" for none. */
  readonly operands: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly { readonly line: string; readonly does: string }[];
  /** Left out of the list of commands; its own help is there. */
  readonly hidden?: boolean;
  /** Ends with the exit code of the process; what it throws is printed as one line. */
  run(call: Call): Promise<number>;
}

/** A command as it was called. */
export interface Call {
  readonly options: Readonly<Record<string, string | true>>;
  readonly operands: readonly string[];
  readonly terminal: Terminal;
  readonly version: string;
}

/** The command line itself is wrong: printed with a pointer to the help, exit code 2. */
export class UsageError extends Error {
  /** The command it is about, where one was found. */
  readonly command: Command | undefined;

  constructor(message: string, command?: Command) {
    super(message);
    this.name = "UsageError";
    this.command = command;
  }
}

/** What a command line asks for. */
export type Parsed =
  | { readonly ask: "help"; readonly command?: Command; readonly group?: string }
  | { readonly ask: "version" }
  | {
      readonly ask: "run";
      readonly command: Command;
      readonly options: Call["options"];
      readonly operands: readonly string[];
    };

/** Reads the words after "davit". Throws a UsageError that says what was probably meant. */
export function parseCommandLine(argv: readonly string[], commands: readonly Command[]): Parsed {
  const [first, ...rest] = argv;
  if (first === undefined || first === "--help" || first === "-h") return { ask: "help" };
  if (first === "--version" || first === "-V") return { ask: "version" };
  if (first === "help") return helpFor(rest, commands);
  if (first.startsWith("-")) {
    throw new UsageError(`unknown option "${first}": a command comes first`);
  }
  const command = findCommand(argv, commands);
  if (command !== undefined) return parseCall(command, argv.slice(wordsOf(command)));
  if (isGroup(first, commands) && asksHelp(rest[0])) return { ask: "help", group: first };
  throw unknownCommand(argv, commands);
}

function asksHelp(word: string | undefined): boolean {
  return word === "--help" || word === "-h";
}

function helpFor(words: readonly string[], commands: readonly Command[]): Parsed {
  const [first] = words;
  if (first === undefined) return { ask: "help" };
  const command = findCommand(words, commands);
  if (command !== undefined) return { ask: "help", command };
  if (words.length === 1 && isGroup(first, commands)) return { ask: "help", group: first };
  throw unknownCommand(words, commands);
}

function findCommand(words: readonly string[], commands: readonly Command[]): Command | undefined {
  return commands.find((command) => words.slice(0, wordsOf(command)).join(" ") === command.name);
}

function wordsOf(command: Command): number {
  return command.name.split(" ").length;
}

/** True for a word that is no command by itself, only the start of several. */
function isGroup(word: string, commands: readonly Command[]): boolean {
  return commands.some((command) => command.name.startsWith(`${word} `));
}

function unknownCommand(words: readonly string[], commands: readonly Command[]): UsageError {
  const visible = commands.filter((command) => command.hidden !== true);
  const names = visible.map((command) => command.name);
  const [first = "", second] = words;
  if (isGroup(first, commands)) {
    const all = names.filter((name) => name.startsWith(`${first} `));
    const known = all.map((name) => name.slice(first.length + 1));
    if (second === undefined || second.startsWith("-")) {
      return new UsageError(`"davit ${first}" needs one of: ${known.join(", ")}`);
    }
    return new UsageError(
      `unknown command "${first} ${second}"${hint(second, known, (word) => `${first} ${word}`)}`,
    );
  }
  const firsts = new Set(names.flatMap((name) => [name, name.split(" ")[0] ?? name]));
  return new UsageError(`unknown command "${first}"${hint(first, firsts)}`);
}

function hint(
  word: string,
  candidates: Iterable<string>,
  show: (meant: string) => string = (meant) => meant,
): string {
  const meant = nearest(word, candidates);
  return meant === undefined ? "" : `, did you mean "${show(meant)}"?`;
}

function parseCall(command: Command, args: readonly string[]): Parsed {
  const config: ParseArgsOptionsConfig = { help: { type: "boolean", short: "h" } };
  for (const [name, spec] of Object.entries(command.options)) {
    config[name] = { type: spec.value === undefined ? "boolean" : "string" };
  }
  // Not strict: the words of node's own complaints would have no hint of what was meant.
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: config,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  if (values["help"] === true) return { ask: "help", command };
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const spec = command.options[token.name];
    if (spec === undefined) {
      const known = ["help", ...Object.keys(command.options)].map((name) => `--${name}`);
      throw new UsageError(
        `unknown option "${token.rawName}"${hint(token.rawName, known)}`,
        command,
      );
    }
    if (spec.value === undefined && token.value !== undefined) {
      throw new UsageError(`option "--${token.name}" takes no value`, command);
    }
    if (spec.value !== undefined && (token.value ?? "") === "") {
      throw new UsageError(`option "--${token.name}" needs a value: ${spec.value}`, command);
    }
  }
  checkOperands(command, positionals);
  const options = values as Record<string, string | true>;
  return { ask: "run", command, options, operands: positionals };
}

function checkOperands(command: Command, given: readonly string[]): void {
  const specs = command.operands === "" ? [] : command.operands.split(" ");
  const missing = specs.slice(given.length).find((spec) => !spec.startsWith("["));
  if (missing !== undefined) throw new UsageError(`${missing} is missing`, command);
  const extra = given[specs.length];
  if (extra !== undefined) throw new UsageError(`unexpected operand "${extra}"`, command);
}
