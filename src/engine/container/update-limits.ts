import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { Container, ResourceUpdate } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { adoptProcess } from "./adopt.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";

/** Throws `failed-precondition` for a container that is neither created nor running. */
export function checkCanUpdate({ id, state }: Container): void {
  if (state.name === "created" || state.name === "running") return;
  throw new RuntimeError(
    "failed-precondition",
    `update resources of container "${id}": it is ${state.name}, neither created nor running`,
  );
}

/**
 * Writes an update of resources to the cgroup of a container and to its record. The caller has its lock.
 * The result restores the former limits and the record, when the update has been done and no later one has replaced it.
 */
export async function writeUpdate(
  context: ContainerContext,
  container: Container,
  plan: {
    readonly update: ResourceUpdate;
    readonly operation: RunningOperation;
    readonly undo: Rollback;
  },
): Promise<() => Promise<void>> {
  const { id, state, resources: earlier } = container;
  const { update, operation, undo } = plan;
  // Deferred first, so that it runs last. A full disk must not prevent the limits from being undone.
  const restoreRecord = (): void => {
    if (context.store.peek(id) === undefined) return;
    context.store.update(id, (now) =>
      now.resources === earlier ? now : { ...now, resources: earlier },
    );
  };
  undo.defer("restore the former resources in the database", restoreRecord);

  await operation.enter("write-limits");
  let restoreLimits: (() => Promise<void>) | undefined;
  if (state.name === "running" && update.limits !== undefined) {
    // The recovery may have failed to do so.
    await adoptProcess(context, container, state);
    const runtime = runtimeOf(context, container);
    restoreLimits = await runtime.update(id, update.limits, operation.signal);
    undo.defer("restore the former limits", restoreLimits);
  }

  await operation.enter("write-record");
  context.store.update(id, (now) => {
    checkCanUpdate(now);
    return { ...now, resources: update.inForce };
  });
  return async () => {
    if (context.store.peek(id)?.resources !== update.inForce) return;
    await restoreLimits?.();
    restoreRecord();
  };
}
