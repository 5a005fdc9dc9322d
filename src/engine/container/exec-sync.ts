import { maxTimerMs } from "../../base/time.ts";
import type { ExecResult } from "../../core/container/index.ts";
import {
  checkCommand,
  type ContainerContext,
  execSubject,
  runningContainer,
  runtimeOf,
} from "./context.ts";
import { checkNotPaused } from "./paused.ts";
import { containerSubject } from "../lifecycle/subjects.ts";

/**
 * Runs a command in a running container and returns its output and exit code. A command that takes
 * longer than `timeoutSeconds` (0: no limit) is killed, and the call fails with `deadline-exceeded`.
 * `failed-precondition` for a container that is not running, and for one that is paused.
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
  const container = runningContainer(context, input.containerId, "exec in");
  checkNotPaused(context, container, "exec in");
  checkCommand(container.id, input.command);
  context.prewarmCgroupMigration();
  const { id } = container;
  const { timeoutSeconds } = input;
  return context.operations.run(
    {
      name: "exec-sync",
      subject: id,
      timeoutMs: timeoutSeconds > 0n ? Number(timeoutSeconds) * 1000 : maxTimerMs,
      log: context.log.with(containerSubject(container, context.sandboxes)),
    },
    async (operation) => {
      using _caller = operation.follow(caller);
      await operation.enter("build-spec");
      const spec = await context.specs.process(execSubject(context, container), {
        args: input.command,
        terminal: false,
      });
      const result = await runtimeOf(context, container).execSync(id, spec, operation);
      await operation.enter("answer");
      return result;
    },
  );
}
