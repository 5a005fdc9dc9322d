import { formatConfig, formatDefaultConfig } from "../../config/format.ts";
import type { Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { DEFAULT_CONFIG_FILE, findConfigFile, loadConfigOrTell } from "./config-file.ts";

const whichFile = `Without FILE it is ${DEFAULT_CONFIG_FILE} if that is there, else the defaults.`;

/** `davit config default`. */
export const configDefault: Command = {
  name: "config default",
  section: "The server",
  summary: "Print the default configuration, with a sentence on each key",
  operands: [],
  options: {},
  examples: [
    { line: "davit config default > davit.toml", does: "Start a configuration of your own" },
  ],
  run: ({ terminal }) => {
    terminal.out(formatDefaultConfig());
    return Promise.resolve(exitCode.done);
  },
};

/** `davit config check`: one finding a line, as compilers print them. */
export const configCheck: Command = {
  name: "config check",
  section: "The server",
  summary: "Say what is wrong with a configuration file",
  details: `Finds everything at once, and changes nothing.\n${whichFile}`,
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {},
  examples: [{ line: "davit config check davit.toml", does: "Check a file before a restart" }],
  run: ({ terminal, operands }) => Promise.resolve(check(findConfigFile(operands[0]), terminal)),
};

/** `davit config show`. */
export const configShow: Command = {
  name: "config show",
  section: "The server",
  summary: "Print the configuration that results from a file and the defaults",
  details: whichFile,
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {},
  examples: [{ line: "davit config show", does: "See what davit serve would run with" }],
  run: ({ terminal, operands }) => {
    const config = loadConfigOrTell(findConfigFile(operands[0]), terminal);
    if (config === undefined) return Promise.resolve(exitCode.failed);
    terminal.out(formatConfig(config));
    return Promise.resolve(exitCode.done);
  },
};

function check(
  file: string | undefined,
  terminal: Parameters<Command["run"]>[0]["terminal"],
): number {
  if (loadConfigOrTell(file, terminal) === undefined) return exitCode.failed;
  terminal.out(`${file ?? "the defaults"}: ok\n`);
  return exitCode.done;
}
