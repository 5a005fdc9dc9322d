import { RuntimeError } from "../../../base/errors.ts";

/** A line of CRIU's configuration file: an option (criu(8)), or an option and its value. */
export type CriuOption = string | readonly [option: string, value: string];

/**
 * The text of a file for CRIU_CONFIG_FILE: the way to options that crun or runc do not have. What these set
 * themselves counts more.
 *
 * NOTE(criu): it ends a line at `#`, also between quotes (config.c), so that no value can contain it.
 */
export function criuConfig(options: readonly CriuOption[]): string {
  const lines = options.map((option) => {
    if (typeof option === "string") return option;
    const [name, value] = option;
    if (/[#"\n]/.test(value)) {
      throw new RuntimeError(
        "invalid-argument",
        `configure CRIU: its option "${name}" cannot have the value "${value}", because of its '#', quote or line end`,
      );
    }
    return `${name} "${value}"`;
  });
  return `${lines.join("\n")}\n`;
}

/**
 * The options of every capture and restore. There is no lock of the network: it protects connections that continue
 * after a restore, which no restore here does, and it would drop the traffic of the whole pod meanwhile.
 */
export const commonOptions: readonly CriuOption[] = [["network-lock", "skip"]];
