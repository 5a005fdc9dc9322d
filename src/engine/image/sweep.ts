import type { Digest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import { runWithTimeoutThenBackground } from "../lifecycle/run-with-timeout.ts";
import type { ImageContext } from "./context.ts";
import { layersInUse, removeUnusedLayers } from "./remove.ts";

// How long the complete layers of a failed pull are kept for the next one. kubelet retries within
// 5 minutes (its pull back-off), and a restart during a pull should not fetch gigabytes again.
const keepMs = 600_000;
const unfinishedMs = 2_000;

/**
 * Removes the layers that no image and no container uses: those of an interrupted removal at once,
 * those of a failed pull when no other pull has claimed them for 10 minutes. A failure is logged.
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
      sweepLater(context, "the previous daemon");
    }
  } catch (error) {
    context.log.error("failed to remove unused layers", { error: messageOf(error) });
  }
}

/**
 * Removes what an earlier daemon did not finish unpacking: within 2 s, or else in the background. A
 * failure, for example on a full disk, is retried until it succeeds.
 */
export async function sweepUnfinishedLayers(context: ImageContext): Promise<void> {
  const { layers, log } = context;
  await runWithTimeoutThenBackground(
    context,
    "remove unfinished layers",
    unfinishedMs,
    async () => {
      for (const line of await layers.sweep()) log.warn(`removed an orphan: ${line}`);
    },
  );
}

/** Sweeps when the layers of a failed pull have been kept long enough. */
export function sweepLater(context: ImageContext, pull: string): void {
  const sweep = (): Promise<void> => sweepLayers(context);
  // Slightly after the last of them expires.
  context.janitor.adopt(`layers of an unfinished pull of ${pull}`, sweep, keepMs + 1_000);
}
