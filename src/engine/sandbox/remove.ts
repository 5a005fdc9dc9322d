import { beforeAbort } from "../../base/wait.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { controllerOf, otherCgroups, type SandboxContext } from "./context.ts";
import { holdPlugins, tellPlugins } from "../plugins/index.ts";
import { stopLocked } from "./stop.ts";
import { sandboxSubject } from "../lifecycle/subjects.ts";

/**
 * Removes the sandbox: stops it if necessary, releases its resources and deletes its record.
 * Idempotent: not an error when it does not exist (api.proto, RemovePodSandbox).
 */
export async function removePodSandbox(
  context: SandboxContext,
  idOrPrefix: string,
  caller: AbortSignal,
): Promise<void> {
  const id = context.store.find(idOrPrefix)?.id;
  if (id !== undefined) await removeSandbox(context, id, caller);
}

/** Like {@link removePodSandbox}, by the full id of a sandbox that may be unlisted. */
export async function removeSandbox(
  context: SandboxContext,
  id: string,
  caller?: AbortSignal,
): Promise<void> {
  using _turn = await context.locks.acquire(id, caller);
  const sandbox = context.store.peek(id);
  if (sandbox === undefined) return;
  await context.failedTeardowns.track(id, () =>
    context.operations.run(
      {
        name: "remove-pod-sandbox",
        subject: id,
        timeoutMs: context.times.stopMs,
        log: context.log.with(sandboxSubject(sandbox)),
      },
      (operation) => takeApart(context, id, operation),
    ),
  );
}

async function takeApart(
  context: SandboxContext,
  id: string,
  operation: RunningOperation,
): Promise<void> {
  await operation.enter("stop");
  if (context.store.get(id).state.name === "creating")
    await endHalfBuilt(context, id, operation.signal);
  else await stopLocked(context, id);

  await operation.enter("shut-down");
  await context.containers.removeAll(id);
  const sandbox = context.store.get(id);
  const controller = controllerOf(context, sandbox);
  if (controller !== undefined) {
    await beforeAbort(controller.shutdown(sandbox, operation.signal), operation.signal);
  }
  if (sandbox.cgroup !== undefined)
    await context.cgroups.remove(sandbox.cgroup, () => otherCgroups(context, id), operation.signal);
  await tellRemoved(context, sandbox, operation);

  await operation.enter("delete-record");
  context.store.remove(id);
  context.inflightCreates.forget(sandbox.name, id);
  context.plugins?.forget(id);
  await operation.enter("answer");
}

/** Tells the plugins once. A sandbox that was never finished is not known to them. */
async function tellRemoved(
  context: SandboxContext,
  sandbox: Sandbox,
  operation: RunningOperation,
): Promise<void> {
  const { plugins } = context;
  if (plugins?.active !== true || sandbox.state.name === "creating") return;
  if (!plugins.isFirst("remove", sandbox.id)) return;
  using _hold = await holdPlugins(context, operation.signal);
  await tellPlugins(context, operation, "RemovePodSandbox", (port, signal) =>
    port.removePodSandbox(sandbox, signal),
  );
}

/** Stops a sandbox whose create was interrupted. It was never ready, so there is no state to keep. */
async function endHalfBuilt(
  context: Pick<SandboxContext, "store" | "controllers" | "teardown">,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  const sandbox = context.store.get(id);
  await controllerOf(context, sandbox)?.stop(sandbox, signal);
  await context.teardown.remove(id, signal);
}
