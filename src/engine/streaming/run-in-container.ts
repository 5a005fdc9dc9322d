import { maxTimerMs } from "../../base/time.ts";
import type { Container } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { checkNotPaused, type ContainerContext, runningContainer } from "../container/index.ts";

/**
 * Runs `work` on a running container as an operation without a deadline, until `signal` is aborted. `failed-precondition`
 * for a container that is not running, and for a command in a paused one: a client may connect a minute after its
 * request.
 */
export async function runInContainer<T>(
  context: ContainerContext,
  request: {
    readonly name: "exec" | "attach";
    readonly containerId: string;
    readonly signal: AbortSignal;
  },
  work: (container: Container, operation: RunningOperation) => Promise<T>,
): Promise<T> {
  const { name } = request;
  const doing = name === "exec" ? "exec in" : "attach to";
  const container = runningContainer(context, request.containerId, doing);
  if (name === "exec") checkNotPaused(context, container, doing);
  const { id, sandboxId } = container;
  const log = context.log.with({ container: id, sandbox: sandboxId });
  const plan = { name, subject: id, timeoutMs: maxTimerMs, log };
  return context.operations.run(plan, async (operation) => {
    using _caller = operation.follow(request.signal);
    return await work(container, operation);
  });
}
