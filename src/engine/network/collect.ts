import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { PodNetwork } from "../../core/network/index.ts";
import type { Attachments } from "./attachments.ts";
import type { NetworkTeardown } from "./teardown.ts";

// No pod gets a network meanwhile, so a plugin that hangs must not have a plugin's whole time.
const collectMs = 10_000;

/** What {@link collectGarbage} works with. */
export interface CollectDeps {
  /** Every network that pods of this daemon may be attached to. */
  readonly networks: readonly PodNetwork[];
  readonly attachments: Attachments;
  readonly teardown: NetworkTeardown;
  readonly tasks: TaskGroup;
  readonly log: Logger;
}

/**
 * In the background and once: has each network drop what belongs to no attachment, when no removal
 * is owed any more. To be called after the recovery, and not at all when the record of a pod or of
 * an attachment could not be read: its addresses would be taken from a pod that may live.
 *
 * A daemon that knows of no attachment leaves everything alone. It may be new on a node whose pods
 * another runtime attached to the same network, and could not tell theirs from garbage.
 */
export function collectGarbage(deps: CollectDeps): void {
  const { attachments, log } = deps;
  deps.tasks.spawn("collect garbage of the pod networks", async (signal) => {
    await deps.teardown.whenNothingIsOwed(signal);
    if (attachments.all().length === 0) return;
    for (const network of deps.networks) {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(collectMs)]);
      try {
        await network.collect(() => attachments.all(), { signal: deadline });
      } catch (error) {
        if (signal.aborted) return;
        log.warn("a network could not drop what belongs to no pod; the next start tries again", {
          error: messageOf(error),
        });
      }
    }
  });
}
