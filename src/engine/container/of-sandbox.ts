import type { Container } from "../../core/container/index.ts";
import type { ContainerContext } from "./context.ts";
import { removeContainerById } from "./remove.ts";
import { stopById } from "./stop.ts";

/**
 * Stops all containers of a sandbox at the same time: kills them at once (api.proto, StopPodSandbox:
 * forcibly), or after a grace period. One that cannot be killed does not affect the others; its error is
 * thrown at the end.
 */
export async function stopContainersOf(
  context: ContainerContext,
  sandboxId: string,
  graceMs = 0,
): Promise<void> {
  const ids = new Set([
    ...containersOf(context, sandboxId).map(({ id }) => id),
    ...context.cancellable.idsOfSandbox(sandboxId),
  ]);
  await all([...ids].map((id) => stopById(context, id, graceMs)));
}

/** Removes all containers of a sandbox, including those that are being created. */
export async function removeContainersOf(
  context: ContainerContext,
  sandboxId: string,
): Promise<void> {
  await all(context.cancellable.idsOfSandbox(sandboxId).map((id) => stopById(context, id, 0)));
  await all(containersOf(context, sandboxId).map(({ id }) => removeContainerById(context, id)));
}

/** Waits for all of them, then throws the first failure. */
async function all(ends: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(ends);
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

function containersOf(
  context: Pick<ContainerContext, "store">,
  sandboxId: string,
): readonly Container[] {
  return [...context.store.all()].filter((container) => container.sandboxId === sandboxId);
}
