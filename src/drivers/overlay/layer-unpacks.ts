import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { wrap } from "../../base/errors.ts";
import { errnoCode, SystemError } from "../../base/system-error.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { begin } from "./begun.ts";
import { type LayerFormat, originOf, type StoredFacts } from "./layer-facts.ts";
import type { LayerImages } from "./layer-images.ts";
import { Spool } from "./spool.ts";
import type { StateLayout } from "./state-layout.ts";
import { type UnpackTurn, UnpackTurns, type UnpackTurnsOptions } from "./unpack-turns.ts";
import { unpackBlob } from "./unpacker.ts";
import type { UnpackerProcesses } from "./unpacker-processes.ts";

/** What unpacks need. */
export interface LayerUnpacksDeps {
  readonly paths: StateLayout;
  readonly unpackers: UnpackerProcesses;
  /** How many unpackers may run, where that is not the default. */
  readonly turns: Partial<UnpackTurnsOptions>;
  readonly stallMs: number;
}

/** Unpacks layers into new directories, as many at once as there are turns. */
export class LayerUnpacks {
  readonly #deps: LayerUnpacksDeps;
  readonly #images: LayerImages;
  readonly #turns: UnpackTurns;

  constructor(deps: LayerUnpacksDeps, images: LayerImages) {
    this.#deps = deps;
    this.#images = images;
    this.#turns = new UnpackTurns(deps.turns);
  }

  /** The number of unpackers that wait for a turn. */
  get waiting(): number {
    return this.#turns.waiting;
  }

  /**
   * Makes the files of the layer in `directory`. The facts that it returns are not written yet. Occupies no unpacker
   * while the source of the layer sends nothing.
   */
  async fill(
    directory: string,
    layer: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<StoredFacts> {
    await operation?.enter("make-directory");
    const format = this.#images.formatOf(layer.diffId);
    const files = join(directory, format === "erofs" ? "image" : "fs");
    try {
      await mkdir(files, { recursive: true });
      await chmod(files, 0o755); // independent of the umask
      // Where the image is mounted later.
      if (format === "erofs") await mkdir(join(directory, "fs"));
    } catch (cause) {
      throw failure(`make directory "${files}"`, cause);
    }
    await operation?.enter("unpack");
    using chunks = await begin(layer.chunks, signal);
    const begun = { ...layer, chunks };
    const { pull } = layer;
    const bytes = Number(layer.blob.sizeBytes);
    using turn = await this.#turns.take(layer.registry, signal, { bytes, pull });
    if (turn !== undefined) return await this.#unpack({ files, format }, begun, signal, turn);
    const disk = this.#deps.paths.root;
    await using spool = await Spool.fill({ layer: begun, directory, disk, signal });
    using local = await this.#turns.takeForLocal(signal, pull);
    const spooled = { ...layer, chunks: spool.chunks() };
    return await this.#unpack({ files, format }, spooled, signal, local);
  }

  async #unpack(
    { files, format }: { readonly files: string; readonly format: LayerFormat },
    layer: LayerSource,
    signal: AbortSignal,
    turn?: UnpackTurn,
  ): Promise<StoredFacts> {
    const { unpackers, stallMs, paths } = this.#deps;
    const { bytes, inodes, rootOpaque, fromBelow } = await unpackBlob({
      unpackers,
      directory: files,
      format,
      layer,
      disk: paths.root,
      turn,
      signal,
      stallMs,
    });
    const image = join(files, "layer.erofs");
    const verity = format === "erofs" ? await this.#images.seal(image) : undefined;
    return { format, bytes, inodes, rootOpaque, fromBelow, verity, origins: [originOf(layer)] };
  }
}

/** The failure of a step, with the reason of the kernel if that is one. */
export function failure(doing: string, cause: unknown): Error {
  const code = errnoCode(cause);
  return code === undefined ? wrap(doing, cause) : new SystemError(doing, code, { cause });
}
