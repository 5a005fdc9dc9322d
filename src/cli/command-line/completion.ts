import { aliasWordsAfter, expandAlias } from "./aliases.ts";
import {
  type Command,
  type Completion,
  type OptionSpec,
  optionsOf,
  serverOptions,
  shownOptions,
} from "./command.ts";
import { findCommand } from "./parse.ts";

/** The shells with completion scripts. */
export const shells = ["bash", "zsh", "fish"] as const;

/** The hidden command that the completion scripts call. */
export const completeCommand = "__complete";

/**
 * The candidates for the last word of a command line: known words, and what the server or the
 * shell must add.
 */
export interface Candidates {
  readonly words: readonly string[];
  /** Objects of the server, or files, which the shell completes itself. */
  readonly kind?: Exclude<Completion, readonly string[]>;
}

/**
 * The candidates for the last of the words after "davit", which may be incomplete or empty. The words
 * before it are complete.
 */
export function candidatesFor(words: readonly string[], commands: readonly Command[]): Candidates {
  const visible = commands.filter(({ hidden }) => hidden !== true);
  const current = words.at(-1) ?? "";
  const before = expandAlias(withoutServerOptions(words.slice(0, -1)));
  const command = findCommand(before, visible);
  if (command === undefined) return commandWords(before, current, visible);
  const own = before.slice(command.name.split(" ").length);
  const found = inCommand(command, own, current, visible);
  // Of "images", the next word may also be that of "images check".
  const longer = own.length > 0 ? [] : wordsAfter(command.name, visible);
  return longer.length === 0 ? found : { ...found, words: [...longer, ...found.words] };
}

/** The words of commands that have more of them, after the first one. */
function wordsAfter(first: string, commands: readonly Command[]): readonly string[] {
  const own = commands.filter(({ name }) => name.startsWith(`${first} `));
  return own.map(({ name }) => name.slice(first.length + 1));
}

function withoutServerOptions(words: readonly string[]): readonly string[] {
  const left = [...words];
  while (left[0]?.startsWith("--") === true) {
    const [name = "", value] = left[0].slice(2).split("=");
    if (!Object.hasOwn(serverOptions, name)) break;
    left.splice(0, value === undefined && serverOptions[name]?.value !== undefined ? 2 : 1);
  }
  return left;
}

function commandWords(
  before: readonly string[],
  current: string,
  commands: readonly Command[],
): Candidates {
  const [group] = before;
  if (group !== undefined && group !== "help") {
    const next = wordsAfter(before.join(" "), commands).map((words) => words.split(" ")[0] ?? "");
    return { words: [...new Set([...next, ...aliasWordsAfter(before.join(" "))])] };
  }
  if (current.startsWith("-"))
    return { words: ["--help", "--version", ...optionWords(serverOptions)] };
  const names = new Set(commands.map(({ name }) => name.split(" ")[0] ?? name));
  return { words: group === "help" ? [...names] : [...names, "help"] };
}

function inCommand(
  command: Command,
  words: readonly string[],
  current: string,
  commands: readonly Command[],
): Candidates {
  const specs = optionsOf(command);
  const { operands, open, inRest } = readWords(command, words);
  // The shell completes the words of another program.
  if (inRest) return { words: [], kind: "file" };
  if (open !== undefined) return fromCompletion(open.complete, commands);
  const [name = "", value] = current.split("=");
  if (current.startsWith("--") && value !== undefined) {
    const { words: known, ...rest } = fromCompletion(specs[name.slice(2)]?.complete, commands);
    return { words: known.map((word) => `${name}=${word}`), ...rest };
  }
  if (current.startsWith("-")) return { words: ["--help", ...optionWords(specs)] };
  const last = command.operands.at(-1);
  const spec = command.operands[operands] ?? (last?.many === true ? last : undefined);
  return fromCompletion(spec?.complete, commands);
}

/** Counts the operands, and finds the option that still needs its value. */
function readWords(
  command: Command,
  words: readonly string[],
): {
  readonly operands: number;
  readonly open: OptionSpec | undefined;
  readonly inRest: boolean;
} {
  const specs = optionsOf(command);
  let operands = 0;
  let open: OptionSpec | undefined;
  const given = new Set<string>();
  for (const word of words) {
    const isValue = open !== undefined;
    open = isValue || !word.startsWith("-") ? undefined : openOption(word, specs);
    if (!isValue && (!word.startsWith("-") || word === "-")) operands += 1;
    else if (open !== undefined) given.add(nameOf(open, specs));
    if (command.operands[operands - 1]?.rest === true) return { operands, open, inRest: true };
    if (operands === 1 && !isValue && command.operands[0]?.restAfter?.(word, given) === true) {
      return { operands, open, inRest: true };
    }
  }
  return { operands, open, inRest: false };
}

function nameOf(spec: OptionSpec, specs: Readonly<Record<string, OptionSpec>>): string {
  return Object.keys(specs).find((name) => specs[name] === spec) ?? "";
}

/** The option that needs the next word as its value, if any. */
function openOption(
  word: string,
  specs: Readonly<Record<string, OptionSpec>>,
): OptionSpec | undefined {
  if (word.includes("=")) return undefined;
  const spec = word.startsWith("--")
    ? specs[word.slice(2)]
    : Object.values(specs).find(({ short }) => short === word.at(-1));
  return spec?.value === undefined ? undefined : spec;
}

function optionWords(specs: Readonly<Record<string, OptionSpec>>): readonly string[] {
  return shownOptions(specs).map(([name]) => `--${name}`);
}

function fromCompletion(
  completion: Completion | undefined,
  commands: readonly Command[],
): Candidates {
  if (completion === undefined) return { words: [] };
  if (typeof completion === "object") return { words: completion };
  if (completion === "command") return { words: commands.map(({ name }) => name) };
  return { words: [], kind: completion };
}

/** The completion script of a shell, which calls `davit __complete -- WORDS...` at each Tab. */
export function completionScript(shell: (typeof shells)[number]): string {
  return scripts[shell];
}

// If the first line is ":file", the shell also completes file names.
const scripts = {
  bash: `# bash completion of davit: source <(davit completion bash)
_davit() {
  local IFS=$'\\n' answers
  COMP_WORDBREAKS=\${COMP_WORDBREAKS//[:=]/}
  local line=\${COMP_LINE:0:COMP_POINT} words
  IFS=$' \\t' read -ra words <<<"$line"
  [[ $line == *[[:blank:]] ]] && words+=("")
  answers=$("\${words[0]}" ${completeCommand} -- "\${words[@]:1}" 2>/dev/null) || return
  if [[ $answers == :file* ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "\${words[-1]}") $(compgen -W "\${answers#:file}" -- "\${words[-1]}"))
  else
    COMPREPLY=($(compgen -W "$answers" -- "\${words[-1]}"))
  fi
}
complete -F _davit davit
`,
  zsh: `#compdef davit
# zsh completion of davit: source <(davit completion zsh), or a file _davit on $fpath
_davit() {
  local -a answers
  answers=("\${(@f)$("\${words[1]}" ${completeCommand} -- "\${(@)words[2,$CURRENT]}" 2>/dev/null)}")
  if [[ \${answers[1]} == :file ]]; then
    answers[1]=()
    compadd -a answers
    _files
  else
    compadd -a answers
  fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _davit "$@"
else
  compdef _davit davit
fi
`,
  fish: `# fish completion of davit: davit completion fish | source
function __davit_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l answers ($words[1] ${completeCommand} -- $words[2..-1] 2>/dev/null)
  if test "$answers[1]" = ":file"
    __fish_complete_path (commandline -ct)
    set -e answers[1]
  end
  for answer in $answers
    echo $answer
  end
end
complete -c davit -f -a '(__davit_complete)'
`,
} as const;
