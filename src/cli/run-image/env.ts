import { readFileSync } from "node:fs";
import { systemError } from "../../base/system-error.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import type { Options } from "../command-line/options.ts";

/** An entry of a container's env in a Pod manifest. */
interface EnvEntry {
  readonly name: string;
  readonly value: string;
}

/**
 * The variables of --env-file and then of -e; the last one of a name counts. A name without a value has that of
 * `own`, and is left out where that has none. Throws a UsageError for one that is invalid.
 */
export function readEnv(
  options: Options,
  own: Readonly<Record<string, string | undefined>>,
): readonly EnvEntry[] {
  const entries = new Map<string, string>();
  const add = (option: string, text: string): void => {
    const at = text.indexOf("=");
    const name = at < 0 ? text : text.slice(0, at);
    if (name === "" || /\s/.test(name)) {
      throw options.invalid(option, `has "${text}": must be NAME=VALUE or NAME`);
    }
    const value = at < 0 ? own[name] : text.slice(at + 1);
    if (value !== undefined) entries.set(name, value);
  };
  for (const file of options.texts("env-file")) {
    for (const line of readLines(file)) add("env-file", line);
  }
  for (const text of options.texts("env")) add("env", text);
  return [...entries].map(([name, value]) => ({ name, value }));
}

/** The lines of a file of variables, without comments and empty ones. */
function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, "utf8")
      .split(/\r?\n/)
      .map((line) => line.trimStart())
      .filter((line) => line !== "" && !line.startsWith("#"));
  } catch (cause) {
    const { message } = systemError(`read env file "${file}"`, cause);
    throw new CommandFailure(exitCode.usage, message, { cause });
  }
}
