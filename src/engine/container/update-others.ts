import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { Container } from "../../core/container/index.ts";
import type { ContainerUpdate } from "../../core/plugin/index.ts";
import type { ContainerContext } from "./context.ts";
import { asUpdate, writeUpdate } from "./update-limits.ts";

/** The number of updates that are applied of one answer of the plugins. */
const maxUpdates = 1_000;

/**
 * Applies updates that plugins ask for, of containers other than the one of their event, and returns those
 * that failed. Containers that do not exist or have ended are skipped: a plugin may not know it yet.
 * Rejects only with the reason of an aborted signal.
 */
export async function updateOthers(
  context: ContainerContext,
  updates: readonly ContainerUpdate[],
  signal: AbortSignal,
): Promise<readonly ContainerUpdate[]> {
  const failed: ContainerUpdate[] = updates.slice(maxUpdates);
  for (const update of updates.slice(0, maxUpdates)) {
    try {
      await updateOne(context, update, signal);
    } catch (error) {
      signal.throwIfAborted();
      logFailure(context, update, error);
      failed.push(update);
    }
  }
  return failed;
}

/**
 * Like {@link updateOthers}, as part of a create or an update: a failure fails it, unless the plugin
 * ignores it, and its undo restores the former limits.
 */
export async function updateOthersOrFail(
  context: ContainerContext,
  updates: readonly ContainerUpdate[],
  plan: { readonly signal: AbortSignal; readonly undo: Rollback },
): Promise<void> {
  if (updates.length > maxUpdates) {
    throw new RuntimeError(
      "resource-exhausted",
      `apply the updates of plugins to other containers: there are ${updates.length}, at most ${maxUpdates} can be`,
    );
  }
  for (const update of updates) {
    try {
      const restore = await updateOne(context, update, plan.signal);
      if (restore !== undefined) {
        plan.undo.defer(`restore the limits of container ${update.containerId}`, restore);
      }
    } catch (error) {
      plan.signal.throwIfAborted();
      if (!update.ignoreFailure) {
        const doing = `apply the update of a plugin to container "${update.containerId}"`;
        throw wrap(doing, error);
      }
      logFailure(context, update, error);
    }
  }
}

function logFailure(context: ContainerContext, update: ContainerUpdate, error: unknown): void {
  context.log.warn("failed to apply the update of a plugin", {
    container: update.containerId,
    error: messageOf(error),
  });
}

/** The result restores the former limits. Undefined when there was nothing to do. */
async function updateOne(
  context: ContainerContext,
  { containerId: id, linux }: ContainerUpdate,
  signal: AbortSignal,
): Promise<(() => Promise<void>) | undefined> {
  const wanted = linux?.resources && context.plugins?.messages.criResources(linux.resources);
  if (wanted === undefined || !isUpdatable(context.store.peek(id))) return undefined;
  using _turn = await turnOf(context, id, signal);
  const container = context.store.peek(id);
  if (container === undefined || !isUpdatable(container)) return undefined;
  const update = context.specs.update(container.resources, wanted, linux?.resources);
  const restore = await asUpdate(context, container, signal, (parts) =>
    writeUpdate(context, container, { update, ...parts }),
  );
  return async () => {
    using _again = await context.locks.acquire(id);
    await restore();
  };
}

/** The lock of another container. Its own call may hang, and must not make this one hang. */
async function turnOf(
  context: Pick<ContainerContext, "locks" | "times">,
  id: string,
  signal: AbortSignal,
): Promise<Disposable> {
  const { endMs } = context.times;
  try {
    return await context.locks.acquire(id, AbortSignal.any([signal, AbortSignal.timeout(endMs)]));
  } catch {
    signal.throwIfAborted();
    throw new RuntimeError(
      "deadline-exceeded",
      `another call has been using container "${id}" for ${endMs / 1000} s; see davit inflight`,
    );
  }
}

function isUpdatable(container: Container | undefined): boolean {
  return container?.state.name === "created" || container?.state.name === "running";
}
