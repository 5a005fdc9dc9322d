import { RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, specSubject } from "./context.ts";

/**
 * Refuses a container that needs the ids of the node, in a pod to which davit gave its own. `failed-precondition`. A
 * pod is decided before its containers are known, and cannot change its ids later. So the reason is recorded, and the
 * pod's next sandbox gets the ids of the node (see neededNodeIds()).
 *
 * It also marks the sandbox dead, so that kubelet makes that next one, but only while it has no other container.
 * kubelet would stop the running ones, and makes no new sandbox of a pod with restartPolicy Never that has any container,
 * exited ones included (computePodActions() in pkg/kubelet/kuberuntime): such a pod would never end. davit is not told
 * the policy.
 */
export async function requireOwnIds(
  context: ContainerContext,
  container: Container,
  sandboxId: string,
): Promise<void> {
  if (context.sandboxes.get(sandboxId).ownIds?.range === undefined) return;
  const what = await context.specs.nodeIds(specSubject(context, container));
  if (what === undefined) return;
  // No await from here to the update: a container that is recorded meanwhile finds a dead sandbox.
  const isAlone = [...context.store.all()].every(
    (other) => other.sandboxId !== sandboxId || other.id === container.id,
  );
  noteReason(context, container, { sandboxId, what, isAlone });
  const doing = `create container: it ${what}, so that its pod cannot have ids of its own (runtime.user_namespaces = "auto")`;
  throw new RuntimeError(
    "failed-precondition",
    isAlone
      ? `${doing}; run a new sandbox of the pod, which gets the ids of the node`
      : `${doing}, but the pod has them and its other containers are kept; recreate the pod with a handler (RuntimeClass) that has user_namespaces = "requested", or with hostUsers: false if it can do without the ids of the node`,
  );
}

function noteReason(
  context: ContainerContext,
  container: Container,
  at: { readonly sandboxId: string; readonly what: string; readonly isAlone: boolean },
): void {
  const reason = `container "${container.config.metadata?.name ?? ""}" ${at.what}`;
  const { ownIds, state } = context.sandboxes.get(at.sandboxId);
  const dies = at.isAlone && state.name === "ready";
  // Clients try again and again.
  if (ownIds?.reason === reason && !dies) return;
  const atNs = context.clock.nowNs();
  context.sandboxes.update(at.sandboxId, (now) => ({
    ...now,
    ownIds: { ...now.ownIds, reason },
    ...(dies && {
      state: { name: "dead", reason: `${reason}, which needs the ids of the node`, atNs },
    }),
  }));
  const subject = { ...containerSubject(container, context.sandboxes), reason };
  if (dies)
    context.log.info("a pod needs the ids of the node; its next sandbox gets them", subject);
  else
    context.log.warn("a container needs the ids of the node, which its pod does not have", subject);
}
