import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type {
  Container,
  ResourceUpdate,
  UpdateContainerResourcesRequest,
} from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { askPlugins, holdPlugins, tellPlugins } from "../plugins/index.ts";
import type { ContainerContext } from "./context.ts";
import { evictContainers } from "./evict.ts";
import { ofPlugins } from "./of-plugins.ts";
import { asUpdate, checkCanUpdate, writeUpdate } from "./update-limits.ts";
import { updateOthersOrFail } from "./update-others.ts";

/**
 * Changes the resources of a container. Fields that are 0 or empty in the request do not change.
 *
 * For a running container this writes the cgroup. For a created one the start uses the new resources.
 * Status and the database show them when this returns. On failure the former resources apply, in the
 * cgroup and in the database. `invalid-argument` for limits that make no sense;
 * `failed-precondition` for a container that has exited, for less memory than it uses now, and for
 * limits that this host does not support. Plugins may change the request, or refuse it.
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
  using _hold = await holdPlugins(context, caller);
  using _alone = await updateTurn(context, caller);
  using _turn = await context.locks.acquire(id, caller);
  const container = context.store.get(id);
  checkCanUpdate(container);
  if (request.linux === undefined) return;
  const { linux } = request;
  const update = context.specs.update(container.resources, linux);
  await asUpdate(context, container, caller, (parts) =>
    apply(context, container, { linux, update, ...parts }),
  );
}

/**
 * With plugins, updates come one after the other: a plugin may answer one with updates of other containers, so two
 * updates would each wait for the lock that the other one has.
 */
export async function updateTurn(
  { plugins, locks }: Pick<ContainerContext, "plugins" | "locks">,
  caller: AbortSignal,
): Promise<Disposable | undefined> {
  return plugins?.active === true ? await locks.acquire("updates with plugins", caller) : undefined;
}

async function apply(
  context: ContainerContext,
  container: Container,
  plan: {
    readonly linux: NonNullable<UpdateContainerResourcesRequest["linux"]>;
    readonly update: ResourceUpdate;
    readonly operation: RunningOperation;
    readonly undo: Rollback;
  },
): Promise<void> {
  const { operation } = plan;
  const update = (await updateOfPlugins(context, container, plan)) ?? plan.update;
  await writeUpdate(context, container, { ...plan, update });
  const of = ofPlugins(context, context.store.get(container.id));
  if (of !== undefined) {
    await tellPlugins(context, operation, "PostUpdateContainer", (plugins, signal) =>
      plugins.postUpdateContainer(of, signal),
    );
  }
  await operation.enter("answer");
}

/** The update that the plugins make of it, undefined without plugins. Their changes of other containers are made here. */
async function updateOfPlugins(
  context: ContainerContext,
  container: Container,
  plan: Pick<Parameters<typeof apply>[2], "linux" | "operation" | "undo">,
): Promise<ResourceUpdate | undefined> {
  const { linux, operation, undo } = plan;
  const { plugins } = context;
  const of = ofPlugins(context, container);
  if (plugins === undefined || of === undefined) return undefined;
  const answer = await askPlugins(context, operation, (port, signal) =>
    port.updateContainer(of, plugins.messages.pluginResources(linux), signal),
  );
  if (answer === undefined) return undefined;
  const { own = [], others = [] } = Object.groupBy(answer.evictions, ({ containerId }) =>
    containerId === container.id ? "own" : "others",
  );
  await evictContainers(context, others);
  // It aborts this call, and would wait here for the lock that this call has.
  if (own.length > 0) context.tasks.spawn("evict", () => evictContainers(context, own));
  await updateOthersOrFail(context, answer.updates, { signal: operation.signal, undo });
  // NRI has no OOM score among its resources.
  const wanted = {
    ...plugins.messages.criResources(answer.resources),
    oomScoreAdj: linux.oomScoreAdj,
  };
  return context.specs.update(container.resources, wanted, answer.resources);
}
