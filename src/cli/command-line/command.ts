import type { Terminal } from "../output/terminal.ts";
import type { Options } from "./options.ts";

/**
 * What an operand or an option's value can be, for completion. A list contains all allowed
 * words.
 */
export type Completion =
  | "pod"
  | "container"
  | "pod-or-container"
  | "object"
  | "image"
  | "namespace"
  | "command"
  | "file"
  | "file-or-pod"
  | "file-or-image"
  | "snapshot"
  | "file-or-snapshot"
  | readonly string[];

/** An option of a command. */
export interface OptionSpec {
  /** Its letter, for use with a single dash. */
  readonly short?: string;
  /** The placeholder for its value in the help, such as FILE; an option without one is a switch. */
  readonly value?: string;
  /** The option is repeatable; otherwise the last value counts. */
  readonly many?: true;
  /** A former name, which still works but is not shown by help and completion. */
  readonly formerName?: string;
  /** Other names with which other tools have it, with their dashes: not shown by help and completion. */
  readonly alsoNamed?: readonly string[];
  /** An option of other tools that changes nothing here: accepted, but not shown by help and completion. */
  readonly hidden?: true;
  readonly doc: string;
  /** If this is a list, all other values are rejected. */
  readonly complete?: Completion;
}

/** An operand of a command. */
interface OperandSpec {
  /** The placeholder in the help, such as POD. */
  readonly name: string;
  readonly optional?: true;
  /** Takes all remaining words. Only for the last operand. */
  readonly many?: true;
  /** As `many`, but the words are those of another program: none of them is an option of davit. */
  readonly rest?: true;
  /**
   * Whether a first operand makes all words after it those of another program, as with `rest`. `options` are
   * the names of the options before it.
   */
  readonly restAfter?: (word: string, options: ReadonlySet<string>) => boolean;
  readonly complete?: Completion;
}

/** The headings of the list of commands, in order. */
export const sections = [
  "Pods and containers",
  "Images",
  "Inspection and debugging",
  "Server",
  "Command line",
] as const;

/** A command. Help, completions and docs/cli.md are generated from it. */
export interface Command {
  /** Its name: "serve", "config check". */
  readonly name: string;
  readonly section: (typeof sections)[number];
  /** One line for the list of commands. */
  readonly summary: string;
  /** Further text for the help of the command. */
  readonly details?: string;
  readonly operands: readonly OperandSpec[];
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** Options of other tools, which are rejected, and what to do instead. */
  readonly refusals?: Readonly<Record<string, string>>;
  readonly examples: readonly { readonly line: string; readonly does: string }[];
  /** Connects to a CRI socket, and so has `serverOptions`, too. */
  readonly client?: true;
  /** Not shown in the list of commands. */
  readonly hidden?: true;
  /** Resolves with the exit code. The message of an error is printed. */
  run(call: Call): Promise<number>;
}

/** The options of all commands that connect to a server; they may also precede the command. */
export const serverOptions: Readonly<Record<string, OptionSpec>> = {
  endpoint: {
    value: "SOCKET",
    doc: "CRI socket of the server: a path, or unix:// and a path",
    complete: "file",
  },
  timeout: {
    value: "TIME",
    doc: "Timeout of each request (90s, 5m); the default depends on the command",
  },
  debug: { doc: "Print the requests to the server and their times to stderr" },
};

/** All options of a command: its own, which have priority, then those for the server. */
export function optionsOf(command: Command): Readonly<Record<string, OptionSpec>> {
  return command.client === true ? { ...serverOptions, ...command.options } : command.options;
}

/** The options that help and completion show. */
export function shownOptions(
  options: Readonly<Record<string, OptionSpec>>,
): readonly (readonly [string, OptionSpec])[] {
  return Object.entries(options).filter(([, { hidden }]) => hidden !== true);
}

/** The operands in the notation of the help: "POD [COMMAND...]". */
export function formatOperands({ operands }: Command): string {
  return operands
    .map(({ name, optional, many, rest }) => {
      const word = many === true || rest === true ? `${name}...` : name;
      return optional === true ? `[${word}]` : word;
    })
    .join(" ");
}

/** A call of a command. */
export interface Call {
  readonly options: Options;
  readonly operands: readonly string[];
  readonly terminal: Terminal;
  readonly version: string;
}
