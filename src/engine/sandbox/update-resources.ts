import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import {
  cgroupResources,
  type Sandbox,
  type UpdatePodSandboxResourcesRequest,
} from "../../core/sandbox/index.ts";
import { buildOrUndo } from "../lifecycle/inflight-creates.ts";
import { controllerOf, type SandboxContext } from "./context.ts";

/**
 * Takes new pod-wide resources and overhead: writes them to the pod's cgroup where that is davit's
 * own, tells the sandbox's controller, and keeps them with the sandbox. A cgroup that was there
 * before is kubelet's, and kubelet's alone to write. On failure nothing has changed.
 * `invalid-argument` for limits that cannot be meant, `failed-precondition` for a sandbox that is not
 * ready.
 */
export async function updatePodSandboxResources(
  context: SandboxContext,
  input: { readonly request: UpdatePodSandboxResourcesRequest; readonly requestBytes: Uint8Array },
  caller: AbortSignal,
): Promise<void> {
  const { id } = context.store.resolve(input.request.podSandboxId);
  using _turn = await context.locks.acquire(id, caller);
  const sandbox = context.store.get(id);
  if (sandbox.state.name !== "ready") {
    throw new RuntimeError(
      "failed-precondition",
      `update resources of sandbox "${id}": it is not ready; run a new one`,
    );
  }
  const { resources, overhead } = input.request;
  for (const limits of [resources, overhead]) {
    if (limits !== undefined) context.cgroups.check(limits);
  }
  using operation = context.operations.begin({
    name: "update-pod-sandbox-resources",
    subject: id,
    // A stop or a removal of the sandbox waits for it.
    timeoutMs: context.times.statusMs * 5,
    log: context.log.with({ sandbox: id }),
  });
  using _caller = operation.follow(caller);
  const onStuck = (what: string, error: unknown): void => {
    operation.log.error(`a refused update is still in force: cannot ${what}`, { error });
  };
  const after = { ...sandbox, resourcesBytes: input.requestBytes };
  await buildOrUndo(operation, onStuck, (undo) =>
    apply(context, { before: sandbox, after, resources, operation, undo }),
  );
}

async function apply(
  context: SandboxContext,
  plan: {
    readonly before: Sandbox;
    readonly after: Sandbox;
    readonly resources: UpdatePodSandboxResourcesRequest["resources"];
    readonly operation: RunningOperation;
    readonly undo: Rollback;
  },
): Promise<void> {
  const { before, after, resources, operation, undo } = plan;
  const { id } = before;
  undo.defer("put the earlier resources on record", () => {
    context.store.update(id, (now) => withResources(now, before.resourcesBytes));
  });

  await operation.enter("write-limits");
  if (resources !== undefined && before.cgroup !== undefined) {
    const takeBack = await context.cgroups.update(before.cgroup, cgroupResources(resources));
    undo.defer("write the earlier limits back", takeBack);
  }

  await operation.enter("tell-controller");
  const controller = controllerOf(context, before);
  if (controller !== undefined) {
    await beforeAbort(controller.update(after, operation.signal), operation.signal);
    undo.defer("tell the controller the earlier resources", (signal) =>
      controller.update(before, signal),
    );
  }

  await operation.enter("write-record");
  context.store.update(id, (now) => withResources(now, after.resourcesBytes));
  await operation.enter("answer");
}

/** The same value where nothing changes, so that nothing is written. */
function withResources(sandbox: Sandbox, bytes: Sandbox["resourcesBytes"]): Sandbox {
  if (sandbox.resourcesBytes === bytes) return sandbox;
  const { resourcesBytes: _former, ...rest } = sandbox;
  return bytes === undefined ? rest : { ...rest, resourcesBytes: bytes };
}
