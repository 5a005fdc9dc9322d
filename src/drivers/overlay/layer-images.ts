import type { Digest } from "../../base/digest.ts";
import type { Logger } from "../../base/logger.ts";
import { OtherFormat } from "../../core/snapshot/index.ts";
import type { LayerFormat } from "./layer-facts.ts";
import type { LayerIndex } from "./layer-index.ts";
import type { LayerMounts } from "./layer-mounts.ts";
import type { LayerVerity } from "./layer-verity.ts";
import type { StateLayout } from "./state-layout.ts";
import { unsealed, type VerityMode } from "./verity-mode.ts";

/** What the layers need to know of images. */
export interface LayerImages {
  /** How new layers are stored. */
  readonly format: LayerFormat;
  /** Undefined where no layer is an image, and none will be. */
  readonly mounts: LayerMounts | undefined;
  /** How this layer is stored when it is unpacked. `failed-precondition` if it must be an image and cannot. */
  formatOf(diffId: Digest): LayerFormat;
  /** Ends the file of a new image. Returns its fs-verity digest, if it has one. */
  seal(image: string): Promise<string | undefined>;
  /** Whether new images have fs-verity, "on" or why not. */
  readonly verity: string;
  /** Notes why a layer was not unpacked: a layer that no image holds is a directory the next time. */
  failed(diffId: Digest, cause: unknown): void;
}

/** No images: `why` not. */
function directoriesOnly(verity: VerityMode, why: string): LayerImages {
  return {
    format: "directory",
    mounts: undefined,
    formatOf: () => {
      if (verity === "require") throw unsealed(why);
      return "directory";
    },
    seal: () => Promise.resolve(undefined),
    verity: why,
    failed: () => undefined,
  };
}

const notImages = 'images.layer_format is "directory"';
const tooManyFiles = "the layer has too many files for an EROFS image";

class Images implements LayerImages {
  readonly mounts: LayerMounts;
  readonly format: LayerFormat;
  readonly #log: Logger;
  /** Layers with too many files for an image. */
  readonly #plain = new Set<Digest>();

  readonly #verity: LayerVerity;
  readonly #isRequired: boolean;

  constructor(mounts: LayerMounts, sealer: LayerVerity, deps: LayerImagesDeps) {
    this.mounts = mounts;
    this.format = deps.format;
    this.#verity = sealer;
    this.#isRequired = deps.verity === "require";
    this.#log = deps.log;
  }

  get verity(): string {
    if (this.format !== "erofs") return notImages;
    return this.#verity.obstacle ?? "on";
  }

  formatOf(diffId: Digest): LayerFormat {
    const format = this.#plain.has(diffId) ? "directory" : this.format;
    if (format === "directory" && this.#isRequired) {
      throw unsealed(this.format === "erofs" ? tooManyFiles : notImages);
    }
    return format;
  }

  seal(image: string): Promise<string | undefined> {
    return this.#verity.seal(image);
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
  readonly verity: VerityMode;
}

/**
 * Decides whether layers can be images on this machine. Where they cannot, the log says why, new layers are
 * directories, and layers that are images leave the index: they count as missing until they are pulled again.
 */
export async function openLayerImages(deps: LayerImagesDeps): Promise<LayerImages> {
  const { paths, log, index, format, verity } = deps;
  const images = [...index.layers].filter(([, facts]) => facts.format === "erofs");
  if (format === "directory" && images.length === 0) return directoriesOnly(verity, notImages);
  // Nothing of this is loaded where it is not used.
  const { imageObstacle, LayerMounts } = await import("./layer-mounts.ts");
  const obstacle = await imageObstacle(paths);
  if (obstacle === undefined) {
    const { LayerVerity: Verity } = await import("./layer-verity.ts");
    const sealer = await Verity.open(paths, verity, log);
    const check = async (layer: Digest): Promise<void> => {
      const facts = index.layers.get(layer);
      if (facts !== undefined) await sealer.check(layer, facts);
    };
    return new Images(await LayerMounts.open(paths, check), sealer, deps);
  }
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
  return directoriesOnly(verity, obstacle);
}
