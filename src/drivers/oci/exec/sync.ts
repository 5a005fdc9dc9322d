import type { ExecResult } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { collectOutput } from "../../../stdio/exec-session.ts";
import { Declined, type ExecDeps, withCommand } from "./command.ts";
import type { DirectContainer } from "./direct.ts";
import type { ExecTarget } from "./start-command.ts";

/** A command without a client: its output is returned. */
interface SyncCommand {
  readonly target: ExecTarget;
  readonly spec: OciProcess;
  readonly direct: DirectContainer | undefined;
}

/**
 * Runs a command in a container; see ContainerRuntime.execSync. With `direct`, davit's own program runs it, and the runtime
 * only what that program declines. Only a command that has not begun is declined, so none runs twice.
 */
export async function execSync(
  deps: ExecDeps,
  command: SyncCommand,
  operation: Operation,
): Promise<ExecResult> {
  if (command.direct === undefined) return await runOnce(deps, command, operation);
  try {
    return await runOnce(deps, command, operation);
  } catch (error) {
    if (!(error instanceof Declined)) throw error;
    return await runOnce(deps, { ...command, direct: undefined }, operation);
  }
}

function runOnce(
  deps: ExecDeps,
  { target, spec, direct }: SyncCommand,
  operation: Operation,
): Promise<ExecResult> {
  const io = { stdin: "null", stdout: "pipe" } as const;
  const run = { target, spec: () => spec, io, direct };
  return withCommand(deps, run, operation, async (command) => {
    const { child } = command;
    try {
      return await collectOutput(command, child, operation);
    } finally {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }
  });
}
