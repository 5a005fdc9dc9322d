import type { ExecResult } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { collectOutput } from "../../../stdio/exec-session.ts";
import { type ExecDeps, type ExecTarget, withCommand } from "./command.ts";

/** Runs a command in a container; see ContainerRuntime.execSync. */
export async function execSync(
  deps: ExecDeps,
  target: ExecTarget,
  spec: OciProcess,
  operation: Operation,
): Promise<ExecResult> {
  const io = { stdin: "null", stdout: "pipe" } as const;
  return withCommand(deps, { target, spec: () => spec, io }, operation, async (command) => {
    const { child } = command;
    try {
      return await collectOutput(command, child, operation);
    } finally {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }
  });
}
