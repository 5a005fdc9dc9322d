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
import { askPlugins, holdPlugins, tellPlugins } from "../plugins/index.ts";
import { controllerOf, type SandboxContext } from "./context.ts";
import { sandboxSubject } from "../lifecycle/subjects.ts";

/**
 * Changes the pod-wide resources and overhead of a sandbox: writes them to the pod's cgroup if davit
 * created it, updates the controller, and records them. A cgroup that existed before belongs to
 * kubelet, which alone writes it. On failure nothing changes. `invalid-argument` for limits that make
 * no sense, `failed-precondition` for a sandbox that is not ready. A plugin may refuse it.
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
    log: context.log.with(sandboxSubject(sandbox)),
  });
  using _caller = operation.follow(caller);
  const onStuck = (what: string, error: unknown): void => {
    operation.log.error(`a failed update was not undone, its limits still apply: cannot ${what}`, {
      error,
    });
  };
  const after = { ...sandbox, resourcesBytes: input.requestBytes };
  await buildOrUndo(operation, onStuck, (undo) =>
    apply(context, { before: sandbox, after, resources, overhead, operation, undo }),
  );
}

async function apply(
  context: SandboxContext,
  plan: {
    readonly before: Sandbox;
    readonly after: Sandbox;
    readonly resources: UpdatePodSandboxResourcesRequest["resources"];
    readonly overhead: UpdatePodSandboxResourcesRequest["overhead"];
    readonly operation: RunningOperation;
    readonly undo: Rollback;
  },
): Promise<void> {
  const { before, after, resources, overhead, operation, undo } = plan;
  const { id } = before;
  using _hold = await holdPlugins(context, operation.signal);
  const { plugins } = context;
  await askPlugins(context, operation, (port, signal) => {
    const messages = plugins?.messages;
    const wanted = {
      ...(overhead && messages && { overhead: messages.pluginResources(overhead) }),
      ...(resources && messages && { resources: messages.pluginResources(resources) }),
    };
    return port.updatePodSandbox(before, wanted, signal);
  });
  undo.defer("restore the former resources in the database", () => {
    context.store.update(id, (now) => withResources(now, before.resourcesBytes));
  });

  await operation.enter("write-limits");
  if (resources !== undefined && before.cgroup !== undefined) {
    const restore = await context.cgroups.update(before.cgroup, cgroupResources(resources));
    undo.defer("restore the former limits", restore);
  }

  await operation.enter("update-controller");
  const controller = controllerOf(context, before);
  if (controller !== undefined) {
    await beforeAbort(controller.update(after, operation.signal), operation.signal);
    undo.defer("restore the former resources in the controller", (signal) =>
      controller.update(before, signal),
    );
  }

  await operation.enter("write-record");
  const updated = context.store.update(id, (now) => withResources(now, after.resourcesBytes));
  await tellPlugins(context, operation, "PostUpdatePodSandbox", (plugins, signal) =>
    plugins.postUpdatePodSandbox(updated, signal),
  );
  await operation.enter("answer");
}

/** Returns the same value when nothing changes, so that nothing is written. */
function withResources(sandbox: Sandbox, bytes: Sandbox["resourcesBytes"]): Sandbox {
  if (sandbox.resourcesBytes === bytes) return sandbox;
  const { resourcesBytes: _former, ...rest } = sandbox;
  return bytes === undefined ? rest : { ...rest, resourcesBytes: bytes };
}
