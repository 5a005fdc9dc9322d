import { existsSync } from "node:fs";
import type { Config } from "../../config/config.ts";
import { ConfigError, type LoadedConfig, loadWithOrigins } from "../../config/load.ts";
import { dropInDirectory } from "../../config/sources.ts";
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
 * The file to load: `named`, else the default file if it or the directory of its drop-ins exists. undefined
 * means the built-in defaults.
 */
export function findConfigFile(
  named: string | undefined,
  defaultFile = DEFAULT_CONFIG_FILE,
): string | undefined {
  if (named !== undefined) return named;
  const isThere = [defaultFile, dropInDirectory(defaultFile)].some((path) => existsSync(path));
  return isThere ? defaultFile : undefined;
}

/**
 * As loadConfig(), but prints the errors of an invalid file, one in a line, and returns undefined.
 * Throws for a file that cannot be read.
 */
export function loadConfigOrPrintErrors(
  file: string | undefined,
  terminal: Terminal,
): Config | undefined {
  return loadOrPrintErrors(file, terminal)?.config;
}

/** As loadConfigOrPrintErrors(), with the origins of the values. */
export function loadOrPrintErrors(
  file: string | undefined,
  terminal: Terminal,
): LoadedConfig | undefined {
  try {
    return loadWithOrigins(file);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.lines) terminal.err(`${printable(line)}\n`);
    return undefined;
  }
}
