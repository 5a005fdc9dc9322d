import type { Sandbox } from "../../core/sandbox/index.ts";
import { sandboxSubject } from "../lifecycle/subjects.ts";
import { controllerOf, type SandboxContext } from "./context.ts";

/**
 * Waits in the background for the end of a sandbox and then marks it dead. A stop marks it dead itself,
 * before it calls the controller.
 */
export function watchSandbox(context: SandboxContext, sandbox: Sandbox): void {
  const controller = controllerOf(context, sandbox);
  if (controller === undefined) return;
  context.tasks.spawn(`wait for sandbox "${sandbox.id}"`, async (signal) => {
    const { reason } = await controller.wait(sandbox, signal);
    markDead(context, sandbox.id, reason);
  });
}

/** Changes a ready sandbox to dead. Does nothing in any other state. */
export function markDead(context: SandboxContext, id: string, reason: string): void {
  const sandbox = context.store.peek(id);
  if (sandbox?.state.name !== "ready") return;
  context.store.update(id, (now) => ({
    ...now,
    state: { name: "dead", reason, atNs: context.clock.nowNs() },
  }));
  context.log.warn("a sandbox died", { ...sandboxSubject(sandbox), reason });
}
