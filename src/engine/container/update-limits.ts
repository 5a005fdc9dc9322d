import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { Container, ResourceUpdate } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { buildOrUndo } from "../lifecycle/inflight-creates.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
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
 * Runs `work` as an operation that updates the resources of a container. `caller`, a stop and a removal abort it, since
 * the latter do not wait for the lock, which the caller of this has.
 */
export async function asUpdate<T>(
  context: ContainerContext,
  container: Container,
  caller: AbortSignal,
  work: (parts: { readonly operation: RunningOperation; readonly undo: Rollback }) => Promise<T>,
): Promise<T> {
  const { id } = container;
  using operation = context.operations.begin({
    name: "update-container-resources",
    subject: id,
    timeoutMs: context.times.endMs,
    log: context.log.with(containerSubject(container, context.sandboxes)),
  });
  using _caller = operation.follow(caller);
  using _abortable = context.cancellable.add(id, operation);
  const onStuck = (what: string, error: unknown): void => {
    operation.log.error(`a failed update was not undone, its limits still apply: cannot ${what}`, {
      error,
    });
  };
  return await buildOrUndo(operation, onStuck, (undo) => work({ operation, undo }));
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
