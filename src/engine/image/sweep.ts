import type { Digest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { ImageContext } from "./context.ts";
import { layersInUse, removeUnusedLayers } from "./remove.ts";

// How long the whole layers of a pull that did not end well wait for the next one. kubelet comes
// back within 5 minutes (its back-off of pulls), and a restart in the middle of a pull is no reason
// to fetch gigabytes again.
const keepMs = 600_000;

/**
 * Removes the layers that no image and no container needs: what a removal that was cut left, at
 * once; what a pull left, when nobody has come for it for 10 minutes. One that stays is logged.
 */
export async function sweepLayers(context: ImageContext): Promise<void> {
  try {
    const used = layersInUse(context);
    const unclaimed = new Map(context.layers.unclaimed());
    await context.layers.claim([...unclaimed.keys()].filter((layer) => used.has(layer)));
    const keptFrom = context.clock.nowNs() - BigInt(keepMs) * 1_000_000n;
    const isKept = (layer: Digest): boolean => (unclaimed.get(layer) ?? 0n) > keptFrom;
    const layers = context.layers.list();
    await removeUnusedLayers(
      context,
      layers.filter((layer) => !isKept(layer)),
    );
    if (layers.some((layer) => isKept(layer) && !used.has(layer))) {
      sweepLater(context, "the last daemon");
    }
  } catch (error) {
    context.log.error("cannot remove layers that nobody uses", { error: messageOf(error) });
  }
}

/** Removes what an earlier daemon did not finish unpacking. A failure is logged. */
export async function sweepUnfinishedLayers({ layers, log }: ImageContext): Promise<void> {
  try {
    for (const line of await layers.sweep()) log.warn(`swept away: ${line}`);
  } catch (error) {
    log.error("cannot remove unfinished layers", { error: messageOf(error) });
  }
}

/** Sweeps when what a pull leaves has waited long enough. */
export function sweepLater(context: ImageContext, pull: string): void {
  const sweep = (): Promise<void> => sweepLayers(context);
  // A little later than the last of them is due.
  context.janitor.adopt(`layers of an unfinished pull of ${pull}`, sweep, keepMs + 1_000);
}
