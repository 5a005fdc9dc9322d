import type { ExecResult } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { collectOutput } from "../../../stdio/exec-session.ts";
import { type ExecDeps, withCommand } from "./command.ts";
import type { DirectContainer } from "./direct.ts";
import type { ExecTarget } from "./start-command.ts";

/** A command without a client: its output is returned. */
interface SyncCommand {
  readonly target: ExecTarget;
  readonly spec: OciProcess;
  readonly direct: DirectContainer | undefined;
}

/** Runs a command in a container; see ContainerRuntime.execSync. Throws {@link Declined}. */
export function execSync(
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
