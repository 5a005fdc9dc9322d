import type { Command } from "./command.ts";

/** The command line is invalid. The message is printed with a hint to the help; the exit code is 2. */
export class UsageError extends Error {
  /** The command, if it is known. */
  readonly command: Command | undefined;

  constructor(message: string, command?: Command) {
    super(message);
    this.name = "UsageError";
    this.command = command;
  }
}
