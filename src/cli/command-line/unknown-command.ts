import { statSync } from "node:fs";
import { aliasWordsAfter } from "./aliases.ts";
import type { Command } from "./command.ts";
import { CommandFailure, exitCode } from "./exit-code.ts";
import { otherTool } from "./other-tools.ts";
import { closest, closestCommand } from "./suggest.ts";
import { UsageError } from "./usage-error.ts";

/** Whether a word is the first word of several commands or aliases, such as "config" and "container". */
export function isGroup(word: string, commands: readonly Command[]): boolean {
  return (
    commands.some(({ name }) => name.startsWith(`${word} `)) || aliasWordsAfter(word).length > 0
  );
}

/**
 * The error for words that are not a command: what does the same as the command of another tool, the command
 * that was probably meant, or how to run the image or file that the first word names.
 */
export function unknownCommand(words: readonly string[], commands: readonly Command[]): Error {
  const visible = commands.filter((command) => command.hidden !== true);
  const names = visible.map((command) => command.name);
  const [first = "", second] = words;
  const isAlone = second === undefined || second.startsWith("-");
  const other = otherTool(isAlone ? [first] : words);
  if (isGroup(first, commands)) {
    const own = names.filter((name) => name.startsWith(`${first} `));
    const known = [...own.map((name) => name.slice(first.length + 1)), ...aliasWordsAfter(first)];
    if (isAlone && other === undefined) {
      return new UsageError(`"davit ${first}" requires a command: ${known.join(", ")}`);
    }
    const whole = isAlone ? first : `${first} ${second}`;
    const similar = isAlone ? undefined : closest(second, known);
    if (other !== undefined && (similar === undefined || other.name === whole)) {
      return hint(`unknown command "${whole}"`, other.instead);
    }
    const more = suggestion(similar, (word) => `${first} ${word}`);
    return new UsageError(`unknown command "${whole}"${more}`);
  }
  if (other !== undefined) return hint(`unknown command "${other.name}"`, other.instead);
  if (isRunnable(first)) {
    return hint(`unknown command "${first}"`, `did you mean "davit run ${words.join(" ")}"?`);
  }
  const firsts = names.flatMap((name) => [name, name.split(" ")[0] ?? name]);
  const more = suggestion(closestCommand(first, firsts), (word) => word);
  return new UsageError(`unknown command "${first}"${more}`);
}

/** Whether a word is the name of an image with a host or a tag, or of a file. */
function isRunnable(word: string): boolean {
  if (!/^[\w./@:-]+$/.test(word) || word.startsWith("-")) return false;
  return /[/:]|\.(ya?ml|json)$/.test(word) || isFile(word);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** An error of one line: no help of a command has more to say. */
export function hint(problem: string, instead: string): CommandFailure {
  return new CommandFailure(exitCode.usage, `${problem}: ${instead}`);
}

/** ", did you mean ...?", or nothing without a word. */
export function suggestion(word: string | undefined, show: (word: string) => string): string {
  return word === undefined ? "" : `, did you mean "${show(word)}"?`;
}
