import type { Digest } from "../../base/digest.ts";
import { isKind, messageOf } from "../../base/errors.ts";
import { runWithTimeoutThenBackground } from "../lifecycle/run-with-timeout.ts";
import type { CollectReason } from "./collected.ts";
import type { ImageContext } from "./context.ts";
import { layersInUse, removeUnusedLayers } from "./remove.ts";
import { usedPercent } from "./used-percent.ts";

const unfinishedMs = 2_000;
// A file system that is used this much after a failed pull is not left with its layers. Percent.
const fullPercent = 90;

/**
 * Removes the layers that no image and no container uses: those of an interrupted removal at once, those of a
 * failed pull when no other pull has claimed them for some time (images.gc_unused_layers_seconds), and all of
 * them under pressure. While a record is set aside, a layer that was ever claimed is kept: its image or container may
 * be that one. A failure is logged.
 */
export async function sweepLayers(
  context: ImageContext,
  reason: CollectReason = "age",
): Promise<void> {
  try {
    const used = layersInUse(context);
    const unclaimed = new Map(context.layers.unclaimed());
    await context.layers.claim([...unclaimed.keys()].filter((layer) => used.has(layer)));
    const keptFrom = context.clock.nowNs() - BigInt(context.keepLayersMs) * 1_000_000n;
    const isKept = (layer: Digest): boolean =>
      reason === "age" && (unclaimed.get(layer) ?? 0n) > keptFrom;
    const isKnown = !context.isUseUnknown();
    const layers = context.layers.list().filter((layer) => isKnown || unclaimed.has(layer));
    await collectLayers(
      context,
      layers.filter((layer) => !isKept(layer)),
      reason,
    );
    if (layers.some((layer) => isKept(layer) && !used.has(layer))) {
      sweepLater(context, "the previous daemon");
    }
  } catch (error) {
    context.log.error("failed to remove unused layers", { error: messageOf(error) });
  }
}

async function collectLayers(
  context: ImageContext,
  layers: readonly Digest[],
  reason: CollectReason,
): Promise<void> {
  const { layers: onNode, log, collected } = context;
  const used = layersInUse(context);
  for (const layer of layers) {
    if (used.has(layer)) continue;
    const bytes = Number(onNode.usage([layer]).bytes);
    await removeUnusedLayers(context, [layer]);
    if (onNode.has(layer)) continue;
    collected.add("layer", reason, bytes);
    log.info("removed an unused layer", { layer, reason, bytes });
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
  const afterMs = context.keepLayersMs + 1_000;
  context.janitor.adopt(`layers of an unfinished pull of ${pull}`, sweep, afterMs);
}

/**
 * Sweeps at once after a pull that failed because the disk is full: its layers, and those of other unfinished
 * pulls, occupy what others need, and the next try would fail as well. Registries report their own limits with
 * the same kind of error, so the disk decides.
 */
export function sweepIfFull(context: ImageContext, error: unknown): void {
  if (!isKind(error, "resource-exhausted")) return;
  context.janitor.adopt("layers of unfinished pulls on a full disk", async () => {
    const isFull = usedPercent(await context.layers.space()) >= fullPercent;
    if (isFull) await sweepLayers(context, "pressure");
  });
}
