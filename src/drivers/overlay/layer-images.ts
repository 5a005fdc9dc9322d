import type { Digest } from "../../base/digest.ts";
import type { Logger } from "../../base/logger.ts";
import { OtherFormat } from "../../core/snapshot/index.ts";
import type { LayerFormat } from "./layer-facts.ts";
import type { LayerIndex } from "./layer-index.ts";
import type { LayerMounts } from "./layer-mounts.ts";
import type { StateLayout } from "./state-layout.ts";

/** What the layers need to know of images. */
export interface LayerImages {
  /** How new layers are stored. */
  readonly format: LayerFormat;
  /** Undefined where no layer is an image, and none will be. */
  readonly mounts: LayerMounts | undefined;
  /** How this layer is stored when it is unpacked. */
  formatOf(diffId: Digest): LayerFormat;
  /** Notes why a layer was not unpacked: a layer that no image holds is a directory the next time. */
  failed(diffId: Digest, cause: unknown): void;
}

const directories: LayerImages = {
  format: "directory",
  mounts: undefined,
  formatOf: () => "directory",
  failed: () => undefined,
};

class Images implements LayerImages {
  readonly mounts: LayerMounts;
  readonly format: LayerFormat;
  readonly #log: Logger;
  /** Layers with too many files for an image. */
  readonly #plain = new Set<Digest>();

  constructor(mounts: LayerMounts, { format, log }: Pick<LayerImagesDeps, "format" | "log">) {
    this.mounts = mounts;
    this.format = format;
    this.#log = log;
  }

  formatOf(diffId: Digest): LayerFormat {
    return this.#plain.has(diffId) ? "directory" : this.format;
  }

  failed(diffId: Digest, cause: unknown): void {
    if (!(cause instanceof OtherFormat)) return;
    this.#plain.add(diffId);
    this.#log.warn(
      `layer "${diffId}" is fetched again and unpacked into a directory, although images.layer_format is "erofs": ${cause.message}`,
    );
  }
}

interface LayerImagesDeps {
  readonly paths: StateLayout;
  readonly log: Logger;
  readonly index: LayerIndex;
  readonly format: LayerFormat;
}

/**
 * Decides whether layers can be images on this machine. Where they cannot, the log says why, new layers are
 * directories, and layers that are images leave the index: they count as missing until they are pulled again.
 */
export async function openLayerImages(deps: LayerImagesDeps): Promise<LayerImages> {
  const { paths, log, index, format } = deps;
  const images = [...index.layers].filter(([, facts]) => facts.format === "erofs");
  if (format === "directory" && images.length === 0) return directories;
  // Nothing of this is loaded where it is not used.
  const { imageObstacle, LayerMounts } = await import("./layer-mounts.ts");
  const obstacle = await imageObstacle(paths);
  if (obstacle === undefined) return new Images(await LayerMounts.open(paths), deps);
  if (format === "erofs") {
    log.warn(
      `layers are unpacked into directories, although images.layer_format is "erofs": ${obstacle}`,
    );
  }
  for (const [diffId] of images) {
    log.warn(
      `layer "${diffId}" is ignored until it is pulled again: it is stored as an EROFS image, and ${obstacle}`,
    );
    index.layers.delete(diffId);
    index.unclaimed.delete(diffId);
    index.unattributed.delete(diffId);
  }
  return directories;
}
