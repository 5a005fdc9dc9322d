// The command line of davit. This directory may import config, manifest, client, daemon and doctor; nothing
// imports it. Start here; the table of commands is `commands/index.ts`, and each command is a file.

import process from "node:process";
import { messageOf } from "../base/errors.ts";
import { CommandFailure, exitCode } from "./command-line/exit-code.ts";
import { formatCommand, formatCommandList } from "./command-line/help.ts";
import type { Command } from "./command-line/command.ts";
import { parseCommandLine } from "./command-line/parse.ts";
import { UsageError } from "./command-line/usage-error.ts";
import { serve } from "./commands/serve.ts";
import { printableLines } from "./output/printable.ts";
import { createTerminal, type Terminal } from "./output/terminal.ts";
import { wrapLines } from "./output/wrap.ts";

// Defined by the build; undefined when running from source.
declare const DAVIT_VERSION: string | undefined;

const BUILD = typeof DAVIT_VERSION === "string" ? DAVIT_VERSION : "0.0.0-source";

/** Runs the command line `argv` (the words after "davit"). Returns the exit code. */
export async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  try {
    const commands = await commandsFor(argv);
    const parsed = parseCommandLine(argv, commands);
    switch (parsed.ask) {
      case "help":
        terminal.out(
          wrapLines(
            parsed.command === undefined
              ? formatCommandList(commands, terminal.style, parsed.group)
              : formatCommand(parsed.command, terminal.style, terminal.width()),
            terminal.width(),
          ),
        );
        return exitCode.done;
      case "version": {
        const { formatVersion } = await import("./commands/version.ts");
        terminal.out(formatVersion(BUILD));
        return exitCode.done;
      }
      case "run": {
        const { command, options, operands } = parsed;
        return await command.run({ options, operands, terminal, version: BUILD });
      }
    }
  } catch (error) {
    const red = terminal.errStyle.red;
    terminal.err(`${red("davit:")} ${printableLines(messageOf(error))}\n`);
    if (error instanceof CommandFailure) return error.exitCode;
    if (!(error instanceof UsageError)) return exitCode.failed;
    const topic = error.command === undefined ? "" : ` ${error.command.name}`;
    terminal.err(`See: davit help${topic}\n`);
    return exitCode.usage;
  }
}

/** The commands to choose from. `davit serve` does not load the code of the others. */
async function commandsFor([name]: readonly string[]): Promise<readonly Command[]> {
  if (name === serve.name) return [serve];
  return (await import("./commands/index.ts")).commands;
}

async function publish(argv: readonly string[]): Promise<number> {
  try {
    const { publishEvent } = await import("../daemon/index.ts");
    await publishEvent(argv);
    return exitCode.done;
  } catch (error) {
    process.stderr.write(`davit: ${messageOf(error)}\n`);
    return exitCode.failed;
  }
}

/** Whether the words are `--address SOCKET publish ...`. */
function isPublishCall(argv: readonly string[]): boolean {
  return /^--?address(=|$)/.test(argv[0] ?? "") && argv.includes("publish");
}

/** The process that `bin/davit` becomes. */
async function run(argv: readonly string[]): Promise<never> {
  // Not a command for users: containerd's shims call it as they would call containerd.
  if (isPublishCall(argv)) process.exit(await publish(argv));
  // It is not a failure if the reader closes the pipe (davit ps | head -1).
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? exitCode.done : exitCode.failed);
  });
  const terminal = createTerminal(process.stdout, process.stderr, process.env);
  const code = await main(argv, terminal);
  await Promise.all([flush(process.stdout), flush(process.stderr)]);
  process.exit(code);
}

/**
 * Waits until all output has left the process. NOTE(node): process.exit() drops data that a pipe or a
 * socket has not accepted yet.
 */
async function flush(output: NodeJS.WriteStream): Promise<void> {
  await new Promise<void>((resolve) => {
    output.write("", () => {
      resolve();
    });
  });
}

if (import.meta.main) void run(process.argv.slice(2));
