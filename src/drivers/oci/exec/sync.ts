import type { ExecResult } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { type Command, drainMs, type ExecDeps, type ExecTarget, withCommand } from "./command.ts";
import { within } from "../container-end.ts";
import { maxOutputBytes, Output } from "../../../stdio/capped-output.ts";

/** Runs a command in a container; see ContainerRuntime.execSync. */
export async function execSync(
  deps: ExecDeps,
  target: ExecTarget,
  spec: OciProcess,
  operation: Operation,
): Promise<ExecResult> {
  const io = { stdin: "null", stdout: "pipe" } as const;
  return withCommand(deps, { target, spec: () => spec, io }, operation, (command) =>
    resultOf(command, operation),
  );
}

/** Rejects when the operation is aborted, the command then killed. */
async function resultOf(command: Command, operation: Operation): Promise<ExecResult> {
  const { child } = command;
  const stdout = new Output(child.stdout, maxOutputBytes);
  const stderr = new Output(child.stderr, maxOutputBytes);
  try {
    const exit = await command.ended();
    await operation.enter("drain-output");
    await within(Promise.all([stdout.ended, stderr.ended]), drainMs);
    const exitCode = await command.exitCode(exit, stderr.bytes());
    return { stdout: stdout.bytes(), stderr: stderr.bytes(), exitCode };
  } catch (error) {
    await command.kill();
    throw error;
  } finally {
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
}
