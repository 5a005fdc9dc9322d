import type { Clock } from "../../base/time.ts";
import type { CriContext } from "../../cri/index.ts";
import type { ShimController } from "../../drivers/shim/index.ts";
import { HostStats } from "../../drivers/stats/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import type { Tuning } from "../tuning/tuning.ts";

/** Stats of the objects in the stores; samples are dropped with their object. */
export function statsOf(
  deps: {
    readonly cgroups: CgroupLayout;
    readonly clock: Clock;
    /** Reports the usage of the sandboxes of its controller. */
    readonly meter: ShimController | undefined;
    readonly tuning: Pick<Tuning, "cachesCgroupFiles">;
  },
  { roots, store: containers, sandboxes }: CriContext["containers"],
): HostStats {
  const { meter } = deps;
  const stats = new HostStats({
    ...deps,
    roots,
    cachesFiles: deps.tuning.cachesCgroupFiles,
    meterOf: ({ handler }) => (handler.controller === meter?.name ? meter : undefined),
  });
  for (const store of [sandboxes, containers]) {
    store.listen(({ id, state }, change) => {
      if (change === "removed") stats.forget(id);
      else if (state.name !== "running" && state.name !== "ready") stats.ended(id);
    });
  }
  return stats;
}
