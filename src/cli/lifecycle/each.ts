import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { kindOf, messageOf } from "../../base/errors.ts";
import type { LiveLines } from "../output/live-lines.ts";
import { printableLines } from "../output/printable.ts";

/** Work on one of the operands, which a person knows by `name`. */
export interface Task {
  readonly name: string;
  readonly work: () => Promise<void>;
}

/**
 * Does all tasks at once and prints the name of each that is done, as docker does. One that fails
 * keeps no other from being done; its message goes to stderr at once. The exit code is that of the
 * first failure. `lines` are those that the tasks show meanwhile.
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

/** The error for an operand that may not be taken away without being asked twice. */
export function refusal(message: string): CommandFailure {
  return new CommandFailure(exitCode.failed, message);
}
