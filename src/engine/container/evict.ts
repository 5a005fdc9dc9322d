import { messageOf } from "../../base/errors.ts";
import type { AskedEviction } from "../../core/plugin/index.ts";
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
 * plugin was asked about continues, as with containerd.
 */
export async function evictContainers(
  context: ContainerContext,
  evictions: readonly AskedEviction[],
): Promise<void> {
  if (evictions.length > maxEvictions) {
    const left = evictions.length - maxEvictions;
    context.log.warn(`plugins ask for too many evictions, ${left} of them are not carried out`);
  }
  for (const { containerId, reason, plugin } of evictions.slice(0, maxEvictions)) {
    const container = context.store.peek(containerId);
    if (container?.state.name !== "running") continue;
    const subject = containerSubject(container, context.sandboxes);
    const why = reason.slice(0, maxReason);
    const by = plugin === undefined ? "a plugin" : `plugin "${plugin}"`;
    context.log.warn("a plugin evicts a container", { ...subject, plugin, reason: why });
    context.plugins?.evicted.set(containerId, `evicted by ${by}${why === "" ? "" : `: ${why}`}`);
    try {
      await endById(context, containerId, 0);
    } catch (error) {
      context.plugins?.evicted.delete(containerId);
      context.log.error("failed to evict a container", { ...subject, error: messageOf(error) });
    }
  }
}
