import { formatConfig, formatDefaultConfig } from "../../config/format.ts";
import type { Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { DEFAULT_CONFIG_FILE, findConfigFile, loadConfigOrPrintErrors } from "./config-file.ts";

const whichFile = `FILE defaults to ${DEFAULT_CONFIG_FILE}. If that does not exist, the defaults are used.`;

/** `davit config default`. */
export const configDefault: Command = {
  name: "config default",
  section: "Server",
  summary: "Print the default configuration with comments",
  operands: [],
  options: {},
  examples: [
    { line: "davit config default > davit.toml", does: "Create a configuration file to edit" },
  ],
  run: ({ terminal }) => {
    terminal.out(formatDefaultConfig());
    return Promise.resolve(exitCode.done);
  },
};

/** `davit config check`: prints one error in a line, as compilers do. */
export const configCheck: Command = {
  name: "config check",
  section: "Server",
  summary: "Validate a configuration file",
  details: `Prints all errors with their lines.\n${whichFile}`,
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {},
  examples: [{ line: "davit config check davit.toml", does: "Validate a file before a restart" }],
  run: ({ terminal, operands }) => Promise.resolve(check(findConfigFile(operands[0]), terminal)),
};

/** `davit config show`. */
export const configShow: Command = {
  name: "config show",
  section: "Server",
  summary: "Print the effective configuration: a file and the defaults",
  details: whichFile,
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {},
  examples: [
    { line: "davit config show", does: "Print the configuration that davit serve would use" },
  ],
  run: ({ terminal, operands }) => {
    const config = loadConfigOrPrintErrors(findConfigFile(operands[0]), terminal);
    if (config === undefined) return Promise.resolve(exitCode.failed);
    terminal.out(formatConfig(config));
    return Promise.resolve(exitCode.done);
  },
};

function check(
  file: string | undefined,
  terminal: Parameters<Command["run"]>[0]["terminal"],
): number {
  if (loadConfigOrPrintErrors(file, terminal) === undefined) return exitCode.failed;
  terminal.out(`${file ?? "the defaults"}: ok\n`);
  return exitCode.done;
}
