import { RuntimeError } from "../../base/errors.ts";
import type { ContainerUsage } from "../../core/container/index.ts";
import type { ContainerContext } from "./context.ts";

/**
 * What a container uses, or used until its end. `failed-precondition` for one that was never started, `unavailable` when
 * the kernel does not answer in time; other errors as for resolving the id.
 */
export async function containerUsage(
  context: Pick<ContainerContext, "store" | "usage" | "clock">,
  idOrPrefix: string,
): Promise<{ readonly ended: boolean; readonly usage: ContainerUsage }> {
  const { id, cgroupPath } = context.store.resolve(idOrPrefix);
  const last = lastUsage(context, id);
  if (last !== undefined) return last;
  const usage = await context.usage(cgroupPath, "running");
  // It may have ended meanwhile, with its cgroup.
  return (
    lastUsage(context, id) ?? {
      ended: false,
      usage: usage ?? { takenAtNs: context.clock.nowNs() },
    }
  );
}

/** The usage of a container that has ended; undefined for one that runs. */
function lastUsage(
  context: Pick<ContainerContext, "store">,
  id: string,
): { readonly ended: true; readonly usage: ContainerUsage } | undefined {
  const { state } = context.store.get(id);
  if (state.name === "running") return undefined;
  if (state.name === "exited" && state.startedAtNs > 0n) {
    return { ended: true, usage: state.usage ?? { takenAtNs: state.finishedAtNs } };
  }
  throw new RuntimeError(
    "failed-precondition",
    `read usage of container "${id}": it was never started`,
  );
}
