import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../base/digest.ts";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";
import { enableVerity, measureVerity } from "../../linux/file/index.ts";
import type { LayerFacts } from "./layer-facts.ts";
import type { StateLayout } from "./state-layout.ts";
import { unsealed, type VerityMode } from "./verity-mode.ts";

/** Node.js has no name for this errno: the kernel lacks the hash. */
const ENOPKG = "E65";

/** The fs-verity of images of layers: enabled when an image is made, its digest compared before each mount. */
export class LayerVerity {
  readonly #paths: StateLayout;
  readonly #mode: VerityMode;
  /** Why this machine has none. */
  readonly obstacle: string | undefined;

  private constructor(paths: StateLayout, mode: VerityMode, obstacle: string | undefined) {
    this.#paths = paths;
    this.#mode = mode;
    this.obstacle = obstacle;
  }

  /** Tries it with a small file. The log says once why images go without it. */
  static async open(paths: StateLayout, mode: VerityMode, log: Logger): Promise<LayerVerity> {
    if (mode === "off") return new LayerVerity(paths, mode, 'images.layer_verity is "off"');
    const obstacle = await verityObstacle(paths);
    if (obstacle !== undefined) {
      const what = "images of layers are stored without fs-verity";
      const refused = 'layers are not unpacked, because images.layer_verity is "require"';
      log.warn(`${mode === "require" ? refused : what}: ${obstacle}`);
    }
    return new LayerVerity(paths, mode, obstacle);
  }

  /** Makes the image of a new layer unchangeable. Returns what to record; `undefined` where the machine cannot. */
  async seal(image: string): Promise<string | undefined> {
    if (this.obstacle !== undefined) {
      if (this.#mode === "require") throw unsealed(this.obstacle);
      return undefined;
    }
    try {
      await enableVerity(image);
      return await measureVerity(image);
    } catch (cause) {
      throw wrap("protect the image of the layer with fs-verity", cause);
    }
  }

  /**
   * Compares an image with what was recorded. `data-loss` for another file, and for one that lost its fs-verity;
   * `failed-precondition` for one that never had it, where it is required.
   */
  async check(layer: Digest, { verity }: Pick<LayerFacts, "verity">): Promise<void> {
    if (this.#mode === "off") return;
    const image = this.#paths.image(layer);
    if (verity === undefined) {
      if (this.#mode === "auto") return;
      throw new RuntimeError(
        "failed-precondition",
        `layer "${layer}": "${image}" has no fs-verity, which images.layer_verity = "require" demands; ` +
          "remove the images that have it (davit rmi) and pull them again",
      );
    }
    const found = await measureVerity(image);
    if (found === verity) return;
    const is = found === undefined ? "has no fs-verity" : `has the fs-verity digest "${found}"`;
    throw new RuntimeError(
      "data-loss",
      `layer "${layer}": "${image}" ${is}, and it had "${verity}" when it was unpacked: something replaced the file; ` +
        'run "davit images check --repair", or set images.layer_verity = "off" if root was copied or restored',
    );
  }
}

async function verityObstacle({ layers, root }: StateLayout): Promise<string | undefined> {
  const directory = join(layers, ".verity-probe");
  const file = join(directory, "file");
  try {
    // What a crash has left cannot be written.
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await writeFile(file, "probe");
    await enableVerity(file);
    return undefined;
  } catch (cause) {
    return explain(errnoCode(cause), messageOf(cause), root);
  } finally {
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

function explain(code: string | undefined, message: string, root: string): string {
  if (code === "ENOTTY") {
    return `fs-verity is missing in the kernel (CONFIG_FS_VERITY) or in the file system of "${root}"`;
  }
  if (code === "EOPNOTSUPP" || code === "ENOTSUP") {
    return `the file system of "${root}" was made without fs-verity; for ext4 run "tune2fs -O verity DEVICE"`;
  }
  return code === ENOPKG
    ? "the kernel has no SHA-256 for fs-verity (CONFIG_CRYPTO_SHA256)"
    : message;
}
