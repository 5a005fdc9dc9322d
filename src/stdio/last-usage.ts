import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { ContainerUsage, UsageReader } from "../core/container/index.ts";

/**
 * What a container used until its end, before its cgroup is removed; undefined for one without a cgroup on this host. Never
 * rejects: nothing but this answer depends on it.
 */
export async function lastUsage(
  { usage, log }: { readonly usage?: UsageReader; readonly log: Logger },
  cgroupPath: string,
): Promise<ContainerUsage | undefined> {
  if (usage === undefined || cgroupPath === "") return undefined;
  try {
    return await usage(cgroupPath, "ended");
  } catch (error) {
    log.debug(`failed to read the last usage: ${messageOf(error)}`);
    return undefined;
  }
}
