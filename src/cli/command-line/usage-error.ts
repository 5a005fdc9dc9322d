import type { Command } from "./command.ts";

/** The command line itself is wrong: printed with a pointer to the help, exit code 2. */
export class UsageError extends Error {
  /** The command it is about, where one was found. */
  readonly command: Command | undefined;

  constructor(message: string, command?: Command) {
    super(message);
    this.name = "UsageError";
    this.command = command;
  }
}
