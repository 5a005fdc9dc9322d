import { RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, specSubject } from "./context.ts";

/**
 * Refuses a container that needs the ids of the node, in a pod to which davit gave its own. `failed-precondition`. It
 * also marks the sandbox dead with the reason: kubelet then makes a new sandbox of the pod, and that one gets the ids of
 * the node (see neededNodeIds()). A pod is decided before its containers are known, and cannot change its ids later.
 */
export async function requireOwnIds(
  context: ContainerContext,
  container: Container,
  sandboxId: string,
): Promise<void> {
  if (context.sandboxes.get(sandboxId).ownIds?.range === undefined) return;
  const what = await context.specs.nodeIds(specSubject(context, container));
  if (what === undefined) return;
  const reason = `container "${container.config.metadata?.name ?? ""}" ${what}`;
  const atNs = context.clock.nowNs();
  context.sandboxes.update(sandboxId, (now) => ({
    ...now,
    ownIds: { ...now.ownIds, reason },
    ...(now.state.name === "ready" && {
      state: { name: "dead", reason: `${reason}, which needs the ids of the node`, atNs },
    }),
  }));
  context.log.info("a pod needs the ids of the node; its next sandbox gets them", {
    ...containerSubject(container, context.sandboxes),
    reason,
  });
  throw new RuntimeError(
    "failed-precondition",
    `create container: it ${what}, so that its pod cannot have ids of its own (runtime.user_namespaces = "auto"); run a new sandbox of the pod, which gets the ids of the node`,
  );
}
