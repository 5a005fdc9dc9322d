import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { fileLayerId } from "../../base/file-layer.ts";
import type { ImageConfig, ImageFetcher } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { type ParsedImageConfig, parseImageConfig } from "./parse-config.ts";

/** What a pull fetches: the layers of an image, or the files of an artifact. */
export interface PulledContent extends ParsedImageConfig {
  /** `Image.id` of what is pulled. */
  readonly id: Digest;
  readonly configJson: string;
  /** Of an artifact: its type, and the path of each layer's file. */
  readonly artifact?: { readonly type: string; readonly paths: readonly string[] };
}

const noConfig: ImageConfig = {
  entrypoint: [],
  cmd: [],
  env: [],
  workingDir: "",
  user: "",
  stopSignal: "",
  volumes: [],
  labels: {},
};

/**
 * Reads what the layers of an image are: from its config, or for an artifact from its manifest.
 * `data-loss` for a config that is invalid or has another number of layers than the manifest.
 *
 * The id of an image is the digest of its config. Most artifacts have the same empty config, so theirs is the
 * digest of the manifest, as in CRI-O. So is that of a checkpoint, which only the manifest makes one.
 */
export async function readContent(
  fetcher: Pick<ImageFetcher, "image" | "config">,
  operation: Pick<RunningOperation, "enter" | "signal">,
): Promise<PulledContent> {
  const { artifact, layers, config, manifest, checkpointOf } = fetcher.image;
  if (artifact !== undefined) {
    const diffIds = layers.map(({ digest }, at) => fileLayerId(digest, artifact.paths[at] ?? ""));
    return { id: manifest.digest, config: noConfig, configJson: "{}", diffIds, artifact };
  }
  await operation.enter("fetch-config");
  const bytes = await fetcher.config(operation.signal);
  const configJson = Buffer.from(bytes).toString("utf8");
  const parsed = parseImageConfig(configJson);
  if (parsed.diffIds.length !== layers.length) {
    throw new RuntimeError(
      "data-loss",
      `its config has ${String(parsed.diffIds.length)} layers and its manifest has ${String(layers.length)}`,
    );
  }
  // Who has the config of an image must not be able to make a checkpoint of it.
  const id = checkpointOf === undefined ? config.digest : manifest.digest;
  return { id, configJson, ...parsed };
}
