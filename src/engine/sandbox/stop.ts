import { beforeAbort } from "../../base/wait.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { controllerOf, type SandboxContext } from "./context.ts";
import { sandboxSubject } from "../lifecycle/subjects.ts";
import { holdPlugins, tellPlugins } from "../plugins/index.ts";

/**
 * Kills the sandbox's processes and removes its network. The sandbox stays listed, NOTREADY.
 *
 * Idempotent: not an error when the sandbox does not exist or is stopped (api.proto, StopPodSandbox).
 * A network that cannot be removed fails the first calls and is then removed in the background
 * ({@link NetworkTeardown}). Processes are always killed first. A stop has its own deadline, even if
 * the controller ignores it; the caller's signal ends only the wait for an earlier stop or removal.
 */
export async function stopPodSandbox(
  context: SandboxContext,
  idOrPrefix: string,
  caller: AbortSignal,
): Promise<void> {
  const id = context.store.find(idOrPrefix)?.id;
  if (id === undefined) return;
  using _turn = await context.locks.acquire(id, caller);
  if (context.store.peek(id) === undefined) return; // removed while we waited
  await context.failedTeardowns.track(id, () => stopLocked(context, id));
}

/** Stops the sandbox; the caller holds its lock. Does nothing for a stopped sandbox. */
export async function stopLocked(context: SandboxContext, id: string): Promise<void> {
  const sandbox = context.store.get(id);
  if (sandbox.state.name === "stopped") return;
  await context.operations.run(
    {
      name: "stop-pod-sandbox",
      subject: id,
      timeoutMs: context.times.stopMs,
      log: context.log.with(sandboxSubject(sandbox)),
    },
    (operation) => endAndRelease(context, sandbox, operation),
  );
}

async function endAndRelease(
  context: SandboxContext,
  sandbox: Sandbox,
  operation: RunningOperation,
): Promise<void> {
  const { id } = sandbox;
  const controller = controllerOf(context, sandbox);
  // NOTREADY from the beginning, so that kubelet does not start any more containers in it.
  markEnding(context, id, "it is being stopped");
  await operation.enter("end-processes");
  await context.containers.stopAll(id);
  if (controller !== undefined) {
    await beforeAbort(controller.stop(sandbox, operation.signal), operation.signal);
  }
  await tellStopped(context, id, operation);

  await operation.enter("remove-network");
  await context.teardown.remove(id, operation.signal, {
    onPlugin: (plugin) => operation.workOn("remove-network", plugin),
    onPluginDone: (plugin) => operation.enter("network-plugin-done", plugin),
  });
  await operation.enter("network-removed");

  await operation.enter("close-namespaces");
  if (controller !== undefined) {
    await beforeAbort(controller.closeNamespaces(sandbox, operation.signal), operation.signal);
  }

  await operation.enter("write-record");
  context.store.update(id, (now) => ({
    ...now,
    state: { name: "stopped", atNs: context.clock.nowNs() },
  }));
  await operation.enter("answer");
}

/** Makes a ready sandbox NOTREADY before its end. One that is dead keeps its reason. */
export function markEnding(
  context: Pick<SandboxContext, "store" | "clock">,
  id: string,
  reason: string,
): void {
  context.store.update(id, (now) =>
    now.state.name === "ready"
      ? { ...now, state: { name: "dead", reason, atNs: context.clock.nowNs() } }
      : now,
  );
}

/** Tells the plugins once, while the pod has its network. */
async function tellStopped(
  context: SandboxContext,
  id: string,
  operation: RunningOperation,
): Promise<void> {
  const { plugins } = context;
  if (plugins?.active !== true || !plugins.isFirst("stop", id)) return;
  using _hold = await holdPlugins(context, operation.signal);
  await tellPlugins(context, operation, "StopPodSandbox", (port, signal) =>
    port.stopPodSandbox(context.store.get(id), signal),
  );
}
