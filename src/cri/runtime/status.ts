import type { MessageInitShape } from "@bufbuild/protobuf";
import { pausedSince } from "../../engine/container/index.ts";
import type { StatusRequest, StatusResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/**
 * Status: whether the node can run pods. The runtime is ready when it answers, the network when it has a
 * valid configuration. The answer comes from memory, but the first one waits for the features of the OCI
 * runtimes. A verbose request adds information for operators.
 */
export async function status(
  context: CriContext,
  request: StatusRequest,
): Promise<MessageInitShape<typeof StatusResponseSchema>> {
  const handlers = await context.handlers();
  const network = context.network.status();
  return {
    status: {
      conditions: [
        { type: "RuntimeReady", status: true },
        network.ready
          ? { type: "NetworkReady", status: true }
          : {
              type: "NetworkReady",
              status: false,
              reason: "NetworkPluginNotReady",
              message: network.reason,
            },
      ],
    },
    runtimeHandlers: handlers.map(({ name, recursiveReadOnlyMounts, userNamespaces }) => ({
      name,
      features: { recursiveReadOnlyMounts, userNamespaces },
    })),
    features: {
      supplementalGroupsPolicy: true,
      // The /sys of such a pod is a bind mount of the node's, which every runtime supports.
      userNamespacesHostNetwork: handlers.some(({ userNamespaces }) => userNamespaces),
      // Every OCI runtime must know these options (runtime-spec, config.md, mounts).
      mountOptions: true,
      // The field is known; a node without nsdelegate rejects a container with WRITABLE (KEP-5474).
      cgroupMountMode: true,
      containerUlimits: true,
    },
    info: request.verbose ? verboseInfo(context, handlers) : {},
  };
}

function verboseInfo(
  context: CriContext,
  handlers: Awaited<ReturnType<CriContext["handlers"]>>,
): Record<string, string> {
  const { sandboxes, images } = context;
  const { store, checkpoints } = context.containers;
  const { restore, restoreContainers } = checkpoints;
  const paused = [...store.listed()].filter((each) => pausedSince(each) !== undefined);
  const able = handlers.filter(({ checkpoints }) => checkpoints);
  const facts: Readonly<Record<string, unknown>> = {
    ...context.describe(),
    ...context.network.describe(),
    checkpoints: { handlers: able.map(({ name }) => name), restore, restoreContainers },
    paused: paused.map(({ id }) => id),
    inflight: sandboxes.operations.views(),
    lastFailures: sandboxes.operations.history.failures(),
    heldCreates: sandboxes.inflightCreates.unclaimed(),
    pulls: images.progress.views(),
    // An object: crictl shows other values as texts.
    pullHistory: { operations: sandboxes.operations.history.pulls() },
    pendingNetworkRemovals: sandboxes.teardown.pending(),
    unfinishedRemovals: sandboxes.janitor.owned(),
    failedEnds: sandboxes.failedTeardowns.all(),
  };
  return Object.fromEntries(
    Object.entries(facts).map(([key, fact]) => [
      key,
      typeof fact === "string" ? fact : JSON.stringify(fact),
    ]),
  );
}
