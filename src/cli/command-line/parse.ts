import { type Command, type OptionSpec, optionsOf, serverOptions } from "./command.ts";
import { Options } from "./options.ts";
import { expandAlias } from "./aliases.ts";
import { closest } from "./suggest.ts";
import { hint, isGroup, suggestion, unknownCommand } from "./unknown-command.ts";
import { UsageError } from "./usage-error.ts";

/** The result of parsing a command line. */
type Parsed =
  | { readonly ask: "help"; readonly command?: Command; readonly group?: string }
  | { readonly ask: "version" }
  | {
      readonly ask: "run";
      readonly command: Command;
      readonly options: Options;
      readonly operands: readonly string[];
    };

/** Parses the words after "davit". Throws a UsageError, which suggests what was probably meant. */
export function parseCommandLine(argv: readonly string[], commands: readonly Command[]): Parsed {
  const { before, words } = leadingOptions(argv);
  const [first, ...rest] = words;
  if (first === undefined || first === "--help" || first === "-h") return { ask: "help" };
  if (first === "--version" || first === "-V" || first === "-v") return { ask: "version" };
  if (first === "help") return helpFor(rest, commands);
  if (/^-n|^--namespace(=|$)/.test(first)) throw hint(`unknown option "${first}"`, namespaceHint);
  if (first.startsWith("-")) {
    throw new UsageError(`unknown option "${first}": options of a command must follow the command`);
  }
  const command = findCommand(words, commands);
  if (command !== undefined) {
    const own = expandAlias(words).slice(wordCount(command));
    return parseCall(command, command.client === true ? [...before, ...own] : own);
  }
  if (isGroup(first, commands) && asksHelp(rest[0])) return { ask: "help", group: first };
  throw unknownCommand(words, commands);
}

const namespaceHint =
  'davit has no namespaces of containerd; "davit ps -n NAMESPACE" lists the containers of a Kubernetes namespace';

/** Options for the server may precede the command, so that a shell alias can set them. */
function leadingOptions(argv: readonly string[]): {
  readonly before: readonly string[];
  readonly words: readonly string[];
} {
  let at = 0;
  for (;;) {
    const word = argv[at] ?? "";
    const name = word.startsWith("--") ? (word.slice(2).split("=")[0] ?? "") : "";
    if (!Object.hasOwn(serverOptions, name)) break;
    at += word.includes("=") || serverOptions[name]?.value === undefined ? 1 : 2;
  }
  return { before: argv.slice(0, at), words: argv.slice(at) };
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

/**
 * The command at the beginning of these words, or that they are an alias of: of "images" and "images check" the
 * longer one.
 */
export function findCommand(
  words: readonly string[],
  commands: readonly Command[],
): Command | undefined {
  const meant = expandAlias(words);
  return commands
    .filter((command) => meant.slice(0, wordCount(command)).join(" ") === command.name)
    .toSorted((a, b) => wordCount(b) - wordCount(a))[0];
}

function wordCount(command: Command): number {
  return command.name.split(" ").length;
}

function parseCall(command: Command, words: readonly string[]): Parsed {
  const reader = new CallReader(command, words);
  if (reader.asksHelp()) return { ask: "help", command };
  reader.checkOperands();
  return {
    ask: "run",
    command,
    options: new Options(reader.options, (message) => new UsageError(message, command)),
    operands: reader.operands,
  };
}

/** Reads the words of a call in order. */
class CallReader {
  readonly options = new Map<string, string[]>();
  readonly operands: string[] = [];
  readonly #command: Command;
  readonly #specs: Readonly<Record<string, OptionSpec>>;
  readonly #words: string[];
  /** The index of the operand that begins the words of another program; -1 if there is none. */
  readonly #restAt: number;
  #restAfterFirst: boolean | undefined;
  #helpRequested = false;

  constructor(command: Command, words: readonly string[]) {
    this.#command = command;
    this.#specs = optionsOf(command);
    this.#words = [...words];
    this.#restAt = command.operands.findIndex(({ rest }) => rest === true);
    for (let word = this.#words.shift(); word !== undefined; word = this.#words.shift()) {
      if (this.#inRest()) this.#pushRest(word);
      else if (word === "--") this.operands.push(...this.#words.splice(0));
      else if (word.startsWith("--")) this.#readLong(word);
      else if (word.startsWith("-") && word !== "-") this.#readShorts(word);
      else this.operands.push(word);
    }
  }

  asksHelp(): boolean {
    return this.#helpRequested;
  }

  checkOperands(): void {
    const { operands: specs } = this.#command;
    const missing = specs.slice(this.operands.length).find(({ optional }) => optional !== true);
    if (missing !== undefined) throw this.#usageError(`${missing.name} is missing`);
    const last = specs.at(-1);
    if (last?.many === true || last?.rest === true) return;
    const extra = this.operands[specs.length];
    if (extra !== undefined) throw this.#usageError(`unexpected operand "${extra}"`);
  }

  /** Whether words are those of another program. Options of davit may precede its first word. */
  #inRest(): boolean {
    if (this.#restAt >= 0) return this.operands.length > this.#restAt;
    const [first] = this.operands;
    const restAfter = this.#command.operands[0]?.restAfter;
    if (first === undefined || restAfter === undefined) return false;
    this.#restAfterFirst ??= restAfter(first, new Set(this.options.keys()));
    return this.#restAfterFirst;
  }

  /** The words of another program may be separated by "--", as in kubectl. */
  #pushRest(word: string): void {
    if (word === "--" && this.operands.length === 1 && this.#restAt < 0) {
      this.operands.push(...this.#words.splice(0));
    } else {
      this.operands.push(word);
    }
  }

  #readLong(word: string): void {
    const [rawName = word] = word.split("=");
    const given = word.length > rawName.length ? word.slice(rawName.length + 1) : undefined;
    const name = this.#currentName(rawName.slice(2));
    if (name === "help") {
      this.#helpRequested = true;
      return;
    }
    const spec = Object.hasOwn(this.#specs, name) ? this.#specs[name] : undefined;
    if (spec === undefined) throw this.#unknown(rawName);
    if (spec.value === undefined && given !== undefined) {
      throw this.#usageError(`option "--${name}" does not take a value`);
    }
    this.#add(name, spec, given);
  }

  #currentName(name: string): string {
    const renamed = Object.entries(this.#specs).find(
      ([, { formerName, alsoNamed }]) =>
        formerName === name || alsoNamed?.includes(`--${name}`) === true,
    );
    return renamed?.[0] ?? name;
  }

  /** `-it`, `-n5`, `-n 5`, `-n=5`. */
  #readShorts(word: string): void {
    let letters = word.slice(1);
    while (letters !== "") {
      const letter = letters[0] ?? "";
      letters = letters.slice(1);
      if (letter === "h") {
        this.#helpRequested = true;
        continue;
      }
      const found = Object.entries(this.#specs).find(
        ([, { short, alsoNamed }]) =>
          short === letter || alsoNamed?.includes(`-${letter}`) === true,
      );
      if (found === undefined) throw this.#unknown(`-${letter}`);
      const [name, spec] = found;
      const takesRest = spec.value !== undefined && letters !== "";
      this.#add(name, spec, takesRest ? letters.replace(/^=/, "") : undefined);
      if (takesRest) return;
    }
  }

  #add(name: string, spec: OptionSpec, given: string | undefined): void {
    if (spec.value === undefined) {
      this.options.set(name, []);
      return;
    }
    const value = given ?? this.#words.shift() ?? "";
    if (value === "") throw this.#usageError(`option "--${name}" requires a value: ${spec.value}`);
    if (typeof spec.complete === "object" && !spec.complete.includes(value)) {
      const all = spec.complete.join(", ");
      if (value.includes("{{")) {
        throw hint(
          `option "--${name}" is "${value}"`,
          "there are no templates; use -o json and jq",
        );
      }
      throw this.#usageError(`option "--${name}" is "${value}": must be one of ${all}`);
    }
    this.options.set(name, [...(this.options.get(name) ?? []), value]);
  }

  #unknown(rawName: string): Error {
    const { refusals = {} } = this.#command;
    const name = rawName.replace(/^--?/, "");
    if (Object.hasOwn(refusals, name)) {
      return hint(`option "${rawName}" is not supported`, refusals[name] ?? "");
    }
    const shown = Object.keys(this.#specs).filter((each) => this.#specs[each]?.hidden !== true);
    const known = closest(rawName.replace(/^--/, ""), ["help", ...shown]);
    return this.#usageError(
      `unknown option "${rawName}"${suggestion(known, (word) => `--${word}`)}`,
    );
  }

  #usageError(message: string): UsageError {
    return new UsageError(message, this.#command);
  }
}
