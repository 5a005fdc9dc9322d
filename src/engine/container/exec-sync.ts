import { RuntimeError } from "../../base/errors.ts";
import { maxTimerMs } from "../../base/time.ts";
import type { ExecResult } from "../../core/container/index.ts";
import { type ContainerContext, runtimeOf, specSubject } from "./context.ts";

/**
 * Runs a command in a running container and answers with its output and exit code.
 * `deadline-exceeded` when it takes longer than `timeoutSeconds` (0: no limit): its processes are
 * killed then. `failed-precondition` for a container that does not run.
 */
export async function execSync(
  context: ContainerContext,
  input: {
    readonly containerId: string;
    readonly command: readonly string[];
    readonly timeoutSeconds: bigint;
  },
  caller: AbortSignal,
): Promise<ExecResult> {
  const container = context.store.resolve(input.containerId);
  if (input.command.length === 0) {
    throw new RuntimeError(
      "invalid-argument",
      `exec in container "${container.id}": the command is empty`,
    );
  }
  if (container.state.name !== "running") {
    throw new RuntimeError(
      "failed-precondition",
      `exec in container "${container.id}": it is ${container.state.name}, not running`,
    );
  }
  const { id, sandboxId } = container;
  const { timeoutSeconds } = input;
  return context.operations.run(
    {
      name: "exec-sync",
      subject: id,
      timeoutMs: timeoutSeconds > 0n ? Number(timeoutSeconds) * 1000 : maxTimerMs,
      log: context.log.with({ container: id, sandbox: sandboxId }),
    },
    async (operation) => {
      using _caller = operation.follow(caller);
      await operation.enter("build-spec");
      const spec = await context.specs.process(specSubject(context, container), input.command);
      const result = await runtimeOf(context, container).execSync(id, spec, operation);
      await operation.enter("answer");
      return result;
    },
  );
}
