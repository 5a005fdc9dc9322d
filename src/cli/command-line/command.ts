import type { Terminal } from "../output/terminal.ts";
import type { Options } from "./options.ts";

/**
 * What can stand in a place of the command line: what completion offers. A list holds all the words
 * that may stand there.
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
  | readonly string[];

/** One option of a command, as a person types and reads it. */
export interface OptionSpec {
  /** Its letter, typed after one dash. */
  readonly short?: string;
  /** The word for its value in the help, as FILE; without one the option is a switch. */
  readonly value?: string;
  /** May be given more than once; else the last one counts. */
  readonly many?: true;
  /** An earlier name that scripts still use. It works, and neither help nor completion shows it. */
  readonly formerName?: string;
  readonly doc: string;
  /** With a list, every other value is refused. */
  readonly complete?: Completion;
}

/** One operand of a command. */
export interface OperandSpec {
  /** As the help shows it: POD. */
  readonly name: string;
  readonly optional?: true;
  /** Takes all the words that are left. Only for the last operand. */
  readonly many?: true;
  /** As `many`, and the words are another program's: what looks like an option among them is none. */
  readonly rest?: true;
  readonly complete?: Completion;
}

/** The headings that the list of commands has, in this order. */
export const sections = [
  "Pods and containers",
  "Images",
  "Look inside",
  "The server",
  "This command",
] as const;

/** One thing davit can be asked to do: the help, the completions and docs/cli.md are made of it. */
export interface Command {
  /** The words that select it: "serve", "config check". */
  readonly name: string;
  readonly section: (typeof sections)[number];
  /** One line for the list of commands. */
  readonly summary: string;
  /** What more there is to know, in the command's own help. */
  readonly details?: string;
  readonly operands: readonly OperandSpec[];
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly { readonly line: string; readonly does: string }[];
  /** Speaks to a CRI socket: has `serverOptions`, too. */
  readonly client?: true;
  /** Left out of the list of commands; its own help is there. */
  readonly hidden?: true;
  /** Ends with the exit code of the process; what it throws is printed as one line. */
  run(call: Call): Promise<number>;
}

/** The options of every command that speaks to a server; they may also stand before the command. */
export const serverOptions: Readonly<Record<string, OptionSpec>> = {
  endpoint: {
    value: "SOCKET",
    doc: "The CRI socket to speak to, as unix:///run/davit/davit.sock or a path",
    complete: "file",
  },
  timeout: {
    value: "TIME",
    doc: "Give up after this time (90s, 5m); without it each command has its own limits",
  },
};

/** All options of a command, those of its own first. */
export function optionsOf(command: Command): Readonly<Record<string, OptionSpec>> {
  return command.client === true ? { ...command.options, ...serverOptions } : command.options;
}

/** The operands as the help shows them: "POD [COMMAND...]". */
export function formatOperands({ operands }: Command): string {
  return operands
    .map(({ name, optional, many, rest }) => {
      const word = many === true || rest === true ? `${name}...` : name;
      return optional === true ? `[${word}]` : word;
    })
    .join(" ");
}

/** A command as it was called. */
export interface Call {
  readonly options: Options;
  readonly operands: readonly string[];
  readonly terminal: Terminal;
  readonly version: string;
}
