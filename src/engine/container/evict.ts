import { messageOf } from "../../base/errors.ts";
import type { ContainerEviction } from "../../core/plugin/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import type { ContainerContext } from "./context.ts";
import { endById } from "./stop.ts";

/** The number of evictions that are carried out of one answer of the plugins. */
const maxEvictions = 1_000;
/** The longest reason of an eviction that the status of the container shows. */
const maxReason = 1_000;

/**
 * Kills containers that plugins evict; their status and the log show the reason. Containers that do not
 * exist or do not run are skipped. A failure is logged: the container is still there then, and what the
 * plugin was asked about continues, as with containerd. `by` names the plugin.
 */
export async function evictContainers(
  context: ContainerContext,
  evictions: readonly ContainerEviction[],
  by: string,
): Promise<void> {
  for (const { containerId, reason } of evictions.slice(0, maxEvictions)) {
    const container = context.store.peek(containerId);
    if (container?.state.name !== "running") continue;
    const subject = containerSubject(container, context.sandboxes);
    const why = reason.slice(0, maxReason);
    context.log.warn("a plugin evicts a container", { ...subject, plugin: by, reason: why });
    context.plugins?.evicted.set(containerId, `evicted by ${by}${why === "" ? "" : `: ${why}`}`);
    try {
      await endById(context, containerId, 0);
    } catch (error) {
      context.plugins?.evicted.delete(containerId);
      context.log.error("failed to evict a container", { ...subject, error: messageOf(error) });
    }
  }
}
