import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type {
  Container,
  ResourceUpdate,
  UpdateContainerResourcesRequest,
} from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { buildOrUndo } from "../lifecycle/inflight-creates.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { adoptProcess } from "./watch.ts";
import { containerSubject } from "../lifecycle/subjects.ts";

/**
 * Changes the resources of a container. Fields that are 0 or empty in the request do not change.
 *
 * For a running container this writes the cgroup. For a created one the start uses the new resources.
 * Status and the database show them when this returns. On failure the former resources apply, in the
 * cgroup and in the database. `invalid-argument` for limits that make no sense;
 * `failed-precondition` for a container that has exited, for less memory than it uses now, and for
 * limits that this host does not support.
 *
 * The limits are written before the record. A daemon that dies in between leaves the former resources
 * in the database, and kubelet, which compares them with the desired ones, sends the update again.
 */
export async function updateContainerResources(
  context: ContainerContext,
  request: UpdateContainerResourcesRequest,
  caller: AbortSignal,
): Promise<void> {
  const { id } = context.store.resolve(request.containerId);
  if (request.windows !== undefined) {
    throw new RuntimeError(
      "invalid-argument",
      `update resources of container "${id}": the request has Windows resources, this node runs Linux`,
    );
  }
  using _turn = await context.locks.acquire(id, caller);
  const container = context.store.get(id);
  checkCanUpdate(container);
  if (request.linux === undefined) return;
  const update = context.specs.update(container.resources, request.linux);
  using operation = context.operations.begin({
    name: "update-container-resources",
    subject: id,
    timeoutMs: context.times.endMs,
    log: context.log.with(containerSubject(container, context.sandboxes)),
  });
  using _caller = operation.follow(caller);
  // Stop and Remove do not wait for the lock. They abort this operation.
  using _abortable = context.cancellable.add(id, operation);
  const onStuck = (what: string, error: unknown): void => {
    operation.log.error(`a failed update was not undone, its limits still apply: cannot ${what}`, {
      error,
    });
  };
  await buildOrUndo(operation, onStuck, (undo) =>
    apply(context, container, { update, operation, undo }),
  );
}

function checkCanUpdate({ id, state }: Container): void {
  if (state.name === "created" || state.name === "running") return;
  throw new RuntimeError(
    "failed-precondition",
    `update resources of container "${id}": it is ${state.name}, neither created nor running`,
  );
}

async function apply(
  context: ContainerContext,
  container: Container,
  plan: {
    readonly update: ResourceUpdate;
    readonly operation: RunningOperation;
    readonly undo: Rollback;
  },
): Promise<void> {
  const { id, state, resources: earlier } = container;
  const { update, operation, undo } = plan;
  // Deferred first, so that it runs last. A full disk must not prevent the limits from being undone.
  undo.defer("restore the former resources in the database", () => {
    if (context.store.peek(id) !== undefined) {
      context.store.update(id, (now) =>
        now.resources === earlier ? now : { ...now, resources: earlier },
      );
    }
  });

  await operation.enter("write-limits");
  if (state.name === "running" && update.limits !== undefined) {
    // The recovery may have failed to do so.
    await adoptProcess(context, container, state);
    const runtime = runtimeOf(context, container);
    const restore = await runtime.update(id, update.limits, operation.signal);
    undo.defer("restore the former limits", restore);
  }

  await operation.enter("write-record");
  context.store.update(id, (now) => {
    checkCanUpdate(now);
    return { ...now, resources: update.inForce };
  });
  await operation.enter("answer");
}
