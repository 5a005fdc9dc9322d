import { RuntimeError } from "../../base/errors.ts";
import {
  cgroupResources,
  type UpdatePodSandboxResourcesRequest,
} from "../../core/sandbox/index.ts";
import { controllerOf, type SandboxContext } from "./context.ts";

/**
 * Takes new pod-wide resources and overhead: keeps them with the sandbox, tells its controller,
 * and writes them to the pod's cgroup where that is davit's own. A cgroup that was there before
 * is kubelet's, and kubelet's alone to write. On failure nothing has changed.
 */
export async function updatePodSandboxResources(
  context: SandboxContext,
  input: { readonly request: UpdatePodSandboxResourcesRequest; readonly requestBytes: Uint8Array },
  caller: AbortSignal,
): Promise<void> {
  const { id } = context.store.resolve(input.request.podSandboxId);
  using _turn = await context.locks.acquire(id, caller);
  const before = context.store.get(id);
  if (before.state.name !== "ready") {
    throw new RuntimeError(
      "failed-precondition",
      `update resources of sandbox "${id}": it is not ready; run a new one`,
    );
  }
  const after = context.store.update(id, (now) => ({ ...now, resourcesBytes: input.requestBytes }));
  let takeBack = (): Promise<void> => Promise.resolve();
  try {
    const signal = AbortSignal.timeout(context.times.statusMs * 5);
    const { resources } = input.request;
    if (resources !== undefined && after.cgroup !== undefined) {
      takeBack = await context.cgroups.update(after.cgroup, cgroupResources(resources));
    }
    await controllerOf(context, after)?.update(after, signal);
  } catch (error) {
    await takeBack().catch((cause: unknown) => {
      context.log.error("limits of a pod could not be taken back", { sandbox: id, error: cause });
    });
    context.store.update(id, (now) => {
      const { resourcesBytes: _refused, ...rest } = now;
      return before.resourcesBytes === undefined
        ? rest
        : { ...rest, resourcesBytes: before.resourcesBytes };
    });
    throw error;
  }
}
