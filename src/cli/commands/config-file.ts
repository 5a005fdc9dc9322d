import { existsSync } from "node:fs";
import type { Config } from "../../config/config.ts";
import { ConfigError, loadConfig } from "../../config/load.ts";
import type { OptionSpec } from "../command-line/command.ts";
import { printable } from "../output/printable.ts";
import type { Terminal } from "../output/terminal.ts";

/** The configuration file that is read by default, if it exists. */
export const DEFAULT_CONFIG_FILE = "/etc/davit/davit.toml";

/** The option of commands that read a configuration file. */
export const configOption = {
  value: "FILE",
  doc: `Configuration file (default ${DEFAULT_CONFIG_FILE}, if it exists)`,
  complete: "file",
} as const satisfies OptionSpec;

/**
 * The file to load: `named`, which must exist then, else the default file if it
 * exists. undefined means the built-in defaults.
 */
export function findConfigFile(
  named: string | undefined,
  defaultFile = DEFAULT_CONFIG_FILE,
): string | undefined {
  if (named !== undefined) return named;
  return existsSync(defaultFile) ? defaultFile : undefined;
}

/**
 * As loadConfig(), but prints the errors of an invalid file, one in a line, and returns undefined.
 * Throws for a file that cannot be read.
 */
export function loadConfigOrPrintErrors(
  file: string | undefined,
  terminal: Terminal,
): Config | undefined {
  try {
    return loadConfig(file);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.lines) terminal.err(`${printable(line)}\n`);
    return undefined;
  }
}
