import { existsSync } from "node:fs";

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
