import { lstat, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Digest, isDigest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { LayerChecker, LayerPacker, LayerProblem } from "../../core/snapshot/index.ts";
import { diskUsage, measureVerity } from "../../linux/file/index.ts";
import { readFacts } from "./layer-facts.ts";
import type { OverlayLayers } from "./overlay-layers.ts";
import type { StateLayout } from "./state-layout.ts";

/** In the directory of a layer: the digest of its files at the first deep check. */
const digestFile = "checked.json";

/** What the checker needs. */
interface CheckerDeps {
  readonly paths: StateLayout;
  readonly layers: Pick<OverlayLayers, "has" | "lacking" | "lowerOf" | "syncFailureOf">;
  readonly packer: Pick<LayerPacker, "digests">;
}

/** Checks the directories of layers. The number of files is what layer.json has; their size on disk may change. */
export class OverlayChecker implements LayerChecker {
  readonly #deps: CheckerDeps;

  constructor(deps: CheckerDeps) {
    this.#deps = deps;
  }

  async *check(
    layers: readonly Digest[],
    { deep }: { readonly deep: boolean },
    signal: AbortSignal,
  ): AsyncGenerator<LayerProblem, void, undefined> {
    let isWhole = true;
    for (const layer of new Set(layers)) {
      signal.throwIfAborted();
      const problem =
        (await this.#problemOf(layer)) ?? (deep ? await this.#changeOf(layer, signal) : undefined);
      if (problem === undefined) continue;
      isWhole = false;
      yield { layer, problem };
    }
    if (isWhole) yield* this.#sharedFiles(layers);
  }

  async #problemOf(layer: Digest): Promise<string | undefined> {
    const directory = this.#deps.paths.layer(layer);
    if (!this.#deps.layers.has(layer)) {
      return `"${directory}" is missing, or its layer.json could not be read at the start of davit`;
    }
    const failure = this.#deps.layers.syncFailureOf(layer);
    if (failure !== undefined) return `"${directory}" could not be written to the disk: ${failure}`;
    try {
      const { inodes, format, verity } = await readFacts(directory);
      const files = join(directory, format === "erofs" ? "image" : "fs");
      if (!(await isDirectory(files))) return `"${files}" is missing`;
      const found = Number((await diskUsage(files)).inodes);
      if (found === inodes)
        return format === "erofs" ? await this.#replaced(layer, verity) : undefined;
      return `"${files}" has ${found} files and directories; it had ${inodes} when it was unpacked`;
    } catch (cause) {
      return `cannot be read: ${messageOf(cause)}`;
    }
  }

  /** The kernel compares each block of an image with its fs-verity digest, so that the digest is enough. */
  async #replaced(layer: Digest, verity: string | undefined): Promise<string | undefined> {
    if (verity === undefined) return undefined;
    const image = this.#deps.paths.image(layer);
    const found = await measureVerity(image);
    if (found === verity) return undefined;
    return `"${image}" is another file: its fs-verity digest is ${found ?? "missing"}, and was ${verity} when it was unpacked`;
  }

  /** Reads all files. */
  async #changeOf(layer: Digest, signal: AbortSignal): Promise<string | undefined> {
    const file = join(this.#deps.paths.layer(layer), digestFile);
    let found: Digest | undefined;
    try {
      [found] = await this.#deps.packer.digests([layer], signal);
    } catch (cause) {
      signal.throwIfAborted();
      return `its files cannot be read: ${messageOf(cause)}`;
    }
    const known = await readDigest(file);
    if (known === undefined) {
      await writeDigest(file, found);
      return undefined;
    }
    if (known === found) return undefined;
    return "its files are not those of the last deep check: something changed them on the disk";
  }

  /** What the layers share with those below them; see CopyUps. */
  async *#sharedFiles(layers: readonly Digest[]): AsyncGenerator<LayerProblem> {
    const { paths, layers: known } = this.#deps;
    const lacking = known.lacking(layers);
    if (lacking !== undefined) {
      yield {
        layer: lacking,
        problem: "the files that it shares with the layers below are missing",
      };
      return;
    }
    let above = layers.at(-1);
    for (const name of known.lowerOf(layers)) {
      const own = `sha256:${dirname(name)}`;
      if (isDigest(own)) {
        above = layers[layers.lastIndexOf(own) - 1];
        continue;
      }
      const path = join(paths.layers, name);
      if (above !== undefined && !(await isDirectory(path))) {
        yield { layer: above, problem: `"${path}", which it shares with layers below, is missing` };
      }
    }
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory();
  } catch {
    return false;
  }
}

async function readDigest(file: string): Promise<Digest | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(file, "utf8"));
    if (typeof value !== "object" || value === null || !("digest" in value)) return undefined;
    return typeof value.digest === "string" && isDigest(value.digest) ? value.digest : undefined;
  } catch {
    return undefined;
  }
}

/** Without a digest, the next deep check is the first one. */
async function writeDigest(file: string, digest: Digest | undefined): Promise<void> {
  const next = `${file}.new`;
  try {
    await writeFile(next, `${JSON.stringify({ version: 1, digest })}\n`);
    await rename(next, file);
  } catch {
    await rm(next, { force: true }).catch(() => undefined);
  }
}
