import { beforeAbort } from "../../base/wait.ts";
import type { Container } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { endById } from "./stop.ts";

/**
 * Removes a container, ending it first where it runs. Its log stays: it is kubelet's. Idempotent:
 * no error when it is gone (api.proto, RemoveContainer).
 */
export async function removeContainer(
  context: ContainerContext,
  idOrPrefix: string,
  caller: AbortSignal,
): Promise<void> {
  const id = context.store.find(idOrPrefix)?.id;
  if (id !== undefined) await removeContainerById(context, id, caller);
}

/** Like {@link removeContainer}, for the full id of a container that may be unlisted. */
export async function removeContainerById(
  context: ContainerContext,
  id: string,
  caller?: AbortSignal,
): Promise<void> {
  if (context.store.peek(id) === undefined) return;
  using _forbidden = context.starting.block(id);
  context.starting.abort(id, "removed");
  using _turn = await context.locks.acquire(`remove ${id}`, caller);
  const container = context.store.peek(id);
  if (container === undefined) return; // removed while we waited
  await context.failedEnds.track(id, () =>
    context.operations.run(
      {
        name: "remove-container",
        subject: id,
        timeoutMs: context.times.endMs,
        log: context.log.with({ container: id, sandbox: container.sandboxId }),
      },
      (operation) => takeApart(context, container, operation),
    ),
  );
}

async function takeApart(
  context: ContainerContext,
  container: Container,
  operation: RunningOperation,
): Promise<void> {
  const { id } = container;
  await operation.enter("stop");
  await endById(context, id, 0);
  await operation.enter("remove-runtime-state");
  await beforeAbort(runtimeOf(context, container).remove(id, operation), operation.signal);
  // An unmount can wait in the kernel for a disk, forever.
  await beforeAbort(context.roots.remove(id, operation), operation.signal);
  await operation.enter("delete-record");
  context.store.remove(id);
  context.creations.forget(container.name, id);
  context.onRemoved(container);
  await operation.enter("answer");
}
