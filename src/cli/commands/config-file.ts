import { existsSync } from "node:fs";
import type { Config } from "../../config/config.ts";
import { ConfigError, loadConfig } from "../../config/load.ts";
import { printable } from "../output/printable.ts";
import type { Terminal } from "../output/terminal.ts";

/** Read when no file is named, provided that it exists. */
export const DEFAULT_CONFIG_FILE = "/etc/davit/davit.toml";

/**
 * The file to load: the one that was named, which then must exist, or the default one if it is
 * there. undefined stands for the built-in defaults.
 */
export function findConfigFile(
  named: string | undefined,
  defaultFile = DEFAULT_CONFIG_FILE,
): string | undefined {
  if (named !== undefined) return named;
  return existsSync(defaultFile) ? defaultFile : undefined;
}

/**
 * As loadConfig(), but tells the terminal what is wrong in the file, one finding a line; undefined then.
 * Throws for a file that cannot be read.
 */
export function loadConfigOrTell(file: string | undefined, terminal: Terminal): Config | undefined {
  try {
    return loadConfig(file);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.lines) terminal.err(`${printable(line)}\n`);
    return undefined;
  }
}
