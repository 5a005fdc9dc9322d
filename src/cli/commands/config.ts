import { formatConfig, formatDefaultConfig } from "../../config/format.ts";
import { formatOrigin } from "../../config/load.ts";
import { takesEffect } from "../../config/takes-effect.ts";
import type { Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { printable } from "../output/printable.ts";
import { DEFAULT_CONFIG_FILE, findConfigFile, loadOrPrintErrors } from "./config-file.ts";

const whichFile =
  `FILE defaults to ${DEFAULT_CONFIG_FILE}. If that does not exist, the defaults are used.\n` +
  "The drop-ins FILE.d/*.toml are read after FILE, in lexical order.";

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
  summary: "Validate a configuration file and its drop-ins",
  details: `Prints all errors with their files and lines.\n${whichFile}`,
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {},
  examples: [{ line: "davit config check davit.toml", does: "Validate a file before a restart" }],
  run: ({ terminal, operands }) => Promise.resolve(check(findConfigFile(operands[0]), terminal)),
};

/** `davit config show`. */
export const configShow: Command = {
  name: "config show",
  section: "Server",
  summary: "Print the effective configuration: a file, its drop-ins and the defaults",
  details:
    "Each key is followed by its origin, FILE:LINE or default, and by restart if a change of it takes effect\n" +
    `only when davit restarts; davit reload is enough for the others.\n${whichFile}`,
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {},
  examples: [
    { line: "davit config show", does: "Print the configuration that davit serve would use" },
  ],
  run: ({ terminal, operands }) => {
    const loaded = loadOrPrintErrors(findConfigFile(operands[0]), terminal);
    if (loaded === undefined) return Promise.resolve(exitCode.failed);
    terminal.out(
      formatConfig(loaded.config, (path) => {
        const origin = loaded.originOf(path);
        const from = origin === undefined ? "default" : printable(formatOrigin(origin));
        return takesEffect(path) === "reload" ? from : `${from}; restart`;
      }),
    );
    return Promise.resolve(exitCode.done);
  },
};

function check(
  file: string | undefined,
  terminal: Parameters<Command["run"]>[0]["terminal"],
): number {
  const loaded = loadOrPrintErrors(file, terminal);
  if (loaded === undefined) return exitCode.failed;
  const names = loaded.files.length === 0 ? ["the defaults"] : loaded.files;
  for (const name of names) terminal.out(`${printable(name)}: ok\n`);
  return exitCode.done;
}
