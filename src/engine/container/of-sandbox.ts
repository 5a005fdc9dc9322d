import type { Container } from "../../core/container/index.ts";
import type { ContainerContext } from "./context.ts";
import { removeContainerById } from "./remove.ts";
import { stopById } from "./stop.ts";

/** Ends all containers of a sandbox at once, without grace (api.proto, StopPodSandbox: forcibly). */
export async function stopContainersOf(
  context: ContainerContext,
  sandboxId: string,
): Promise<void> {
  await Promise.all(containersOf(context, sandboxId).map(({ id }) => stopById(context, id, 0)));
}

/** Removes all containers of a sandbox, also those in the making. */
export async function removeContainersOf(
  context: ContainerContext,
  sandboxId: string,
): Promise<void> {
  await Promise.all(
    containersOf(context, sandboxId).map(({ id }) => removeContainerById(context, id)),
  );
}

function containersOf(context: ContainerContext, sandboxId: string): readonly Container[] {
  return [...context.store.all()].filter((container) => container.sandboxId === sandboxId);
}
