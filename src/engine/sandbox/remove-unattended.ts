import type { SandboxContext } from "./context.ts";
import { removeSandbox } from "./remove.ts";
import { markEnding } from "./stop.ts";

/**
 * Removes a pod that no client removes, by the full id of its sandbox: stops its containers with the grace
 * period, and removes everything. Not an error when it does not exist. No container can be created in it
 * from now on; `why` is the reason that a create gets.
 */
export async function removeUnattended(
  context: SandboxContext,
  id: string,
  { graceMs, why }: { readonly graceMs: number; readonly why: string },
): Promise<void> {
  if (context.store.peek(id) === undefined) return;
  markEnding(context, id, why);
  // The removal kills what does not end, and says what cannot be killed.
  await context.containers.stopAll(id, graceMs).catch(() => undefined);
  await removeSandbox(context, id);
}
