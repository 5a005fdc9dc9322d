import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../config/config.ts";
import type { CriContext } from "../../cri/index.ts";
import type { WriteBehindRecords } from "../../drivers/records/index.ts";
import { completeRotations, recoverContainers } from "../../engine/container/index.ts";
import {
  attributeLayers,
  forgetIncompleteImages,
  sweepLayers,
  sweepUnfinishedLayers,
} from "../../engine/image/index.ts";
import { collectGarbage } from "../../engine/network/index.ts";
import { recoverSandboxes } from "../../engine/sandbox/index.ts";
import type { Networks } from "./networks.ts";

/** How long the recovery of containers may take. Milliseconds. */
const recoverMs = 120_000;

interface Parts {
  readonly records: WriteBehindRecords;
  readonly networks: Networks;
  readonly config: Config;
}

/** Restores what the last daemon left, and removes what has no record. */
export async function recoverAll(
  contexts: Pick<CriContext, "sandboxes" | "containers" | "images">,
  { records, networks, config }: Parts,
): Promise<void> {
  const { images, sandboxes } = contexts;
  images.store.load();
  forgetIncompleteImages(images);
  const { verification } = images;
  if (verification !== undefined) {
    images.tasks.spawn("sweep kept signatures", () => verification.sweep(images.store));
  }
  attributeLayers(images);
  await recoverSandboxes(sandboxes, records);
  const unread = new Set(records.setAside().map(({ kind }) => kind));
  await recoverAllContainers(contexts, records);
  completeRotations(contexts.containers);
  sweepCheckpointsLater(config, contexts.containers, records);
  preloadLater(config, images);
  if (unread.has("sandbox") || unread.has("attachment")) return;
  collectGarbage({ ...sandboxes, networks: networks.all() });
}

/** Restores containers, then the layers that they use. */
async function recoverAllContainers(
  { containers, images }: Pick<CriContext, "containers" | "images">,
  records: WriteBehindRecords,
): Promise<void> {
  const { operations, log } = containers;
  const last = "the last daemon's containers";
  await operations.run(
    { name: "recover-containers", subject: last, timeoutMs: recoverMs, log },
    async (operation) => {
      await recoverContainers(containers, records, operation);
      await operation.enter("sweep-layers");
      await sweepUnfinishedLayers(images);
      // The layers of an image or container whose record cannot be read are unknown: keep all.
      const unread = records
        .setAside()
        .some(({ kind }) => kind === "image" || kind === "container");
      if (!unread) await sweepLayers(images);
      await operation.enter("ready");
    },
  );
}

/** Removes what the last daemon left of checkpoints, in the background, where there are any. */
function sweepCheckpointsLater(
  { root }: Config,
  containers: CriContext["containers"],
  records: WriteBehindRecords,
): void {
  if (!existsSync(join(root, "checkpoints"))) return;
  const setAside = new Set(records.setAside().map(({ id }) => id));
  containers.janitor.adopt("checkpoints of the last daemon", async () => {
    const { sweepCheckpoints } = await import("../../engine/checkpoint/index.ts");
    await sweepCheckpoints(containers, setAside);
  });
}

/** Loads the images of a directory in the background, if the configuration names one. */
function preloadLater(
  { images: { preloadDir }, root }: Config,
  images: CriContext["images"],
): void {
  if (preloadDir === "") return;
  images.tasks.spawn("preload images", async (signal) => {
    const { preloadImages } = await import("./preload.ts");
    await preloadImages({ directory: preloadDir, root, images }, signal);
  });
}
