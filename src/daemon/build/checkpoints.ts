import type { ContainerChanges, LayerPacker, Layers } from "../../core/snapshot/index.ts";
import type { ContainerContext } from "../../engine/container/index.ts";
import { type ImageContext, removeUnusedLayers } from "../../engine/image/index.ts";
import type { LiveConfig } from "../process/live-config.ts";

type Access = ContainerContext["checkpoints"];

/** How containers are captured and restored, by the configuration in use. */
export function checkpointsOf(
  live: LiveConfig,
  disk: {
    readonly layers: Layers;
    readonly changes: ContainerChanges;
    readonly packer: Pick<LayerPacker, "archive">;
  },
  images: ImageContext,
): Access {
  const { layers, packer } = disk;
  let opened: { readonly maxBytes: number; readonly parts: ReturnType<Access["open"]> } | undefined;
  return {
    open: () => {
      const { root, checkpoint } = live.value;
      const { maxBytes } = checkpoint;
      if (opened?.maxBytes !== maxBytes)
        opened = { maxBytes, parts: load({ ...disk, root, maxBytes }) };
      return opened.parts;
    },
    get restore() {
      return live.value.checkpoint.restore;
    },
    get restoreContainers() {
      return live.value.checkpoint.restoreContainers;
    },
    layers: {
      hold: (held) => images.pulls.claim(held),
      complete: async (chain, signal) => {
        await layers.complete(chain, signal);
        await layers.claim(chain);
      },
      archive: (layer, signal) => packer.archive(layer, signal),
      removeUnused: (unused) => removeUnusedLayers(images, unused),
    },
  };
}

/** Most nodes make no checkpoints: the code is loaded with the first one. */
async function load(deps: {
  readonly root: string;
  readonly maxBytes: number;
  readonly layers: Layers;
  readonly changes: ContainerChanges;
}): ReturnType<Access["open"]> {
  const { CheckpointStore, FileOutputs } = await import("../../drivers/checkpoint/index.ts");
  return { files: new CheckpointStore(deps), outputs: new FileOutputs() };
}
