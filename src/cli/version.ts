import process from "node:process";
import { type Command, exitCode } from "./command.ts";

/** `davit version`. */
export const version: Command = {
  name: "version",
  summary: "Print the version of davit and of the Node.js it runs on",
  operands: "",
  options: {},
  examples: [{ line: "davit version", does: "Print the version" }],
  run: ({ terminal, version: build }) => {
    terminal.out(formatVersion(build));
    return Promise.resolve(exitCode.done);
  },
};

/** The line that `davit version` and `davit --version` print. */
export function formatVersion(build: string): string {
  return `davit ${build} (Node.js ${process.version}, ${process.platform} ${process.arch})\n`;
}
