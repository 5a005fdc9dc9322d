import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { PodNetwork } from "../../core/network/index.ts";
import type { Attachments } from "./attachments.ts";
import type { NetworkTeardown } from "./teardown.ts";

// Pods get no network meanwhile, so a plugin that hangs gets less time than usual.
const collectMs = 10_000;

/** The dependencies of {@link collectGarbage}. */
export interface CollectDeps {
  /** Every network that pods of this daemon may be attached to. */
  readonly networks: readonly PodNetwork[];
  readonly attachments: Attachments;
  readonly teardown: NetworkTeardown;
  readonly tasks: TaskGroup;
  readonly log: Logger;
}

/**
 * Makes each network remove what belongs to no attachment, once and in the background, after all
 * pending removals are done. Call it after the recovery. Do not call it when the record of a pod or of
 * an attachment could not be read: it would release the addresses of a pod that may be running.
 *
 * A daemon without attachments collects nothing. It may be new on a node where another runtime
 * attached pods to the same network, and it could not distinguish those from garbage.
 */
export function collectGarbage(deps: CollectDeps): void {
  const { attachments, log } = deps;
  deps.tasks.spawn("collect garbage of the pod networks", async (signal) => {
    await deps.teardown.untilEmpty(signal);
    if (attachments.all().length === 0) return;
    for (const network of deps.networks) {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(collectMs)]);
      try {
        await network.collect(() => attachments.all(), { signal: deadline });
      } catch (error) {
        if (signal.aborted) return;
        log.warn("failed to collect garbage of a pod network; the next start retries", {
          error: messageOf(error),
        });
      }
    }
  });
}
