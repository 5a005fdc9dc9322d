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

/**
 * Changes the resources of a container. What the request leaves at 0 or empty stays as it is.
 *
 * Of a running container the cgroup is written; the spec of one that was not started yet is made of
 * the new resources at its start. Status and records show them when this returns. On failure the
 * earlier ones are in force, in the cgroup and on record. `invalid-argument` for limits that cannot
 * be meant; `failed-precondition` for a container that has ended, for less memory than it uses now,
 * and for what this host cannot keep.
 *
 * The limits come first, the record second: a daemon that dies in between leaves the earlier
 * resources on record, so that kubelet, which compares them with what it wants, asks again.
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
      `update resources of container "${id}": it has resources for Windows, and this node is Linux`,
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
    log: context.log.with({ container: id, sandbox: container.sandboxId }),
  });
  using _caller = operation.follow(caller);
  // Stop and Remove do not wait for the lock: they abort this.
  using _abortable = context.starting.add(id, operation);
  const onStuck = (what: string, error: unknown): void => {
    operation.log.error(`a refused update is still in force: cannot ${what}`, { error });
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
  // First, so that it comes last: a disk that takes no record must not keep the limits.
  undo.defer("put the earlier resources on record", () => {
    if (context.store.peek(id) !== undefined) {
      context.store.update(id, (now) =>
        now.resources === earlier ? now : { ...now, resources: earlier },
      );
    }
  });

  await operation.enter("write-limits");
  if (state.name === "running" && update.limits !== undefined) {
    // The recovery may not have been able to.
    await adoptProcess(context, container, state);
    const runtime = runtimeOf(context, container);
    const takeBack = await runtime.update(id, update.limits, operation.signal);
    undo.defer("write the earlier limits back", takeBack);
  }

  await operation.enter("write-record");
  context.store.update(id, (now) => {
    checkCanUpdate(now);
    return { ...now, resources: update.inForce };
  });
  await operation.enter("answer");
}
