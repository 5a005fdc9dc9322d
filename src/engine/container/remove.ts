import { beforeAbort } from "../../base/wait.ts";
import type { Container } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { holdPlugins, tellPlugins } from "../plugins/index.ts";
import { ofPlugins } from "./of-plugins.ts";
import { discardRestore } from "./restore-source.ts";
import { endById } from "./stop.ts";
import { updateOthers } from "./update-others.ts";
import { containerSubject } from "../lifecycle/subjects.ts";

/**
 * Removes a container and kills it first if it is running. Its log stays, it belongs to kubelet.
 * Idempotent: not an error when the container does not exist (api.proto, RemoveContainer).
 */
export async function removeContainer(
  context: ContainerContext,
  idOrPrefix: string,
  caller: AbortSignal,
): Promise<void> {
  const id = context.store.find(idOrPrefix)?.id;
  if (id !== undefined) await removeContainerById(context, id, caller);
}

/** Like {@link removeContainer}, by the full id of a container that may be unlisted. */
export async function removeContainerById(
  context: ContainerContext,
  id: string,
  caller?: AbortSignal,
): Promise<void> {
  if (context.store.peek(id) === undefined) return;
  using _blocked = context.cancellable.block(id);
  context.cancellable.abort(id, "removed");
  using _turn = await context.locks.acquire(`remove ${id}`, caller);
  const container = context.store.peek(id);
  if (container === undefined) return; // removed while we waited
  await context.failedTeardowns.track(id, () =>
    context.operations.run(
      {
        name: "remove-container",
        subject: id,
        timeoutMs: context.times.endMs,
        log: context.log.with(containerSubject(container, context.sandboxes)),
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
  await tellRemoved(context, id, operation);
  await operation.enter("remove-runtime-state");
  await beforeAbort(runtimeOf(context, container).remove(id, operation), operation.signal);
  // An unmount can wait for a disk in the kernel forever.
  await beforeAbort(context.roots.remove(id, operation), operation.signal);
  await discardRestore(context, container);
  await operation.enter("delete-record");
  context.store.remove(id);
  context.inflightCreates.forget(container.name, id);
  context.onRemoved(container);
  context.plugins?.forget(id);
  await operation.enter("answer");
}

/** Tells the plugins, once. A container that never ran ends with its removal, as with containerd. */
async function tellRemoved(
  context: ContainerContext,
  id: string,
  operation: RunningOperation,
): Promise<void> {
  const { plugins } = context;
  if (plugins?.active !== true) return;
  await plugins.endTold(id);
  const container = context.store.get(id);
  const of = ofPlugins(context, container, { isOver: true });
  const { name } = container.state;
  // The undo of an unfinished create has told them already, if they knew it.
  if (of === undefined || name === "creating" || !plugins.isFirst("remove", id)) return;
  using _hold = await holdPlugins(context, operation.signal);
  await tellPlugins(context, operation, "RemoveContainer", async (port, signal) => {
    if (name === "created") {
      const { updates } = await port.stopContainer(of, signal);
      await updateOthers(context, updates, signal);
    }
    await port.removeContainer(of, signal);
  });
}
