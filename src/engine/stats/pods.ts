import { RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { PodStats } from "../../core/stats/index.ts";
import { listPodSandboxes, type SandboxFilter } from "../sandbox/index.ts";
import type { MeasuredContainer } from "./containers.ts";
import type { StatsContext } from "./context.ts";

/** A ready sandbox with its resource usage and that of its containers. */
export interface MeasuredPod {
  readonly sandbox: Sandbox;
  readonly stats: PodStats;
  /** Without those whose usage could not be read in time. */
  readonly containers: readonly MeasuredContainer[];
}

/**
 * The resource usage of a sandbox and its containers. `unavailable` when it is not ready, as with
 * containerd, and when its usage cannot be read in time.
 */
export async function podSandboxStats(
  context: StatsContext,
  idOrPrefix: string,
): Promise<MeasuredPod> {
  const sandbox = context.sandboxes.store.resolve(idOrPrefix);
  const { name } = sandbox.state;
  if (name !== "ready") {
    throw new RuntimeError(
      "unavailable",
      `read stats of sandbox "${sandbox.id}": it is ${name}; only a ready sandbox has stats`,
    );
  }
  const [measured] = await measure(context, [sandbox]);
  if (measured !== undefined) return measured;
  throw new RuntimeError(
    "unavailable",
    `read stats of sandbox "${sandbox.id}": its cgroup could not be read in time; try again`,
  );
}

/**
 * The resource usage of the ready sandboxes that match the filter, and of their containers. A sandbox
 * whose usage cannot be read in time is left out.
 */
export async function listPodSandboxStats(
  context: StatsContext,
  filter: Omit<SandboxFilter, "ready">,
): Promise<readonly MeasuredPod[]> {
  return measure(context, listPodSandboxes(context.sandboxes, { ...filter, ready: true }));
}

async function measure(
  context: StatsContext,
  sandboxes: readonly Sandbox[],
): Promise<readonly MeasuredPod[]> {
  const containersOf = new Map<string, Container[]>(sandboxes.map(({ id }) => [id, []]));
  for (const container of context.containers.store.listed()) {
    containersOf.get(container.sandboxId)?.push(container);
  }
  const [ofPods, ofContainers] = await Promise.all([
    context.stats.pods(sandboxes),
    context.stats.containers([...containersOf.values()].flat()),
  ]);
  return sandboxes.flatMap((sandbox) => {
    const stats = ofPods.get(sandbox.id);
    if (stats === undefined) return [];
    const containers = (containersOf.get(sandbox.id) ?? []).flatMap((container) => {
      const its = ofContainers.get(container.id);
      return its === undefined ? [] : [{ container, stats: its }];
    });
    return [{ sandbox, stats, containers }];
  });
}
