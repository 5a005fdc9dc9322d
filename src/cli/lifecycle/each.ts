import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { kindOf, messageOf } from "../../base/errors.ts";
import type { LiveLines } from "../output/live-lines.ts";
import { printableLines } from "../output/printable.ts";

/** Work on an operand. `name` is printed when it is done. */
export interface Task {
  readonly name: string;
  readonly work: () => Promise<void>;
}

/**
 * Runs all tasks concurrently and prints the name of each one that is done, as docker does. If a task fails,
 * its message is printed to stderr and the other tasks continue. Returns the exit code of the
 * first failure. `lines` are the live lines of the tasks.
 */
export async function forEach(
  call: Call,
  tasks: readonly Task[],
  lines?: LiveLines,
): Promise<number> {
  const { terminal } = call;
  const above = (write: () => void): void => (lines === undefined ? write() : lines.above(write));
  let code: number = exitCode.done;
  await Promise.all(
    tasks.map(async ({ name, work }) => {
      try {
        await work();
        above(() => terminal.out(`${name}\n`));
      } catch (error) {
        if (kindOf(error) === "canceled") throw error;
        const message = `${terminal.errStyle.red("davit:")} ${printableLines(messageOf(error))}\n`;
        above(() => terminal.err(message));
        if (code === exitCode.done) code = exitCodeOf(error);
      }
    }),
  );
  return code;
}

/** The error for an object that is only removed with --force. */
export function requiresForce(message: string): CommandFailure {
  return new CommandFailure(exitCode.failed, message);
}
