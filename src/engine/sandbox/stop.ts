import { beforeAbort } from "../../base/wait.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { controllerOf, type SandboxContext } from "./context.ts";

/**
 * Ends the sandbox's processes and gives its network back. Its record stays, NOTREADY.
 *
 * Idempotent: no error when the sandbox is gone or stopped (api.proto, StopPodSandbox). A network
 * that cannot be removed is reported for a while, then left to the background
 * ({@link NetworkTeardown}); processes are ended first in any case. It runs under its own clock, also
 * where a controller does not keep to it:
 * the caller's signal ends only the wait for an earlier stop or removal.
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
  await context.failedEnds.track(id, () => stopLocked(context, id));
}

/** The stop itself, for whoever holds the sandbox's lock. Skips what is done already. */
export async function stopLocked(context: SandboxContext, id: string): Promise<void> {
  const sandbox = context.store.get(id);
  if (sandbox.state.name === "stopped") return;
  await context.operations.run(
    {
      name: "stop-pod-sandbox",
      subject: id,
      timeoutMs: context.times.stopMs,
      log: context.log.with({ sandbox: id }),
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
  // NOTREADY from the first moment on: kubelet must not start anything in it any more.
  context.store.update(id, (now) => ({
    ...now,
    state: { name: "dead", reason: "it is being stopped", atNs: context.clock.nowNs() },
  }));
  await operation.enter("end-processes");
  await context.containers.stopAll(id);
  if (controller !== undefined) {
    await beforeAbort(controller.stop(sandbox, operation.signal), operation.signal);
  }

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
