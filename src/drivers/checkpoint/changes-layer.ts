import { mkdir, open } from "node:fs/promises";
import { constants } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../../base/digest.ts";
import { wrap } from "../../base/errors.ts";
import type { BlobChunk } from "../../base/unread-bytes.ts";
import { checkpointFiles, type OpenOptions } from "../../core/checkpoint/index.ts";
import { type Layers, unpackInAnyFormat } from "../../core/snapshot/index.ts";
import { openRegular, removeTree } from "../../linux/file/index.ts";
import type { OwnProgram } from "../../linux/process/index.ts";
import { limitsOf } from "./extract.ts";
import { digestFile } from "./files.ts";
import type { FileFacts } from "./manifest.ts";
import { runArchiveProgram } from "./programs.ts";

interface ChangesLayerDeps {
  readonly layers: Pick<Layers, "has" | "unpack">;
  readonly maxBytes: number;
  readonly program: OwnProgram | undefined;
}

interface Source {
  /** The directory of the checkpoint, which is not changed, with the facts of its files. */
  readonly directory: string;
  readonly files: ReadonlyMap<string, FileFacts>;
  /** A directory that does not exist, to work in. */
  readonly work: string;
}

/** As that of archives: no pull may take it for a layer that a registry has served (decision 14). */
const noRegistry = "";
const pieceBytes = 1024 * 1024;
/** Pairs of digests that are remembered. */
const maxKnown = 1_000;

/**
 * Makes layers of what containers changed. A layer is that of an archive, with the whiteouts of deleted files before
 * it; so equal changes are one layer, and a second restore of a checkpoint makes none.
 */
export class ChangesLayers {
  readonly #deps: ChangesLayerDeps;
  /** The layer of each pair of archive and list, by their digests. */
  readonly #known = new Map<string, Digest>();

  constructor(deps: ChangesLayerDeps) {
    this.#deps = deps;
  }

  /** The layer of a checkpoint, which is on this node then and held; undefined if nothing was changed. */
  async make(
    source: Source,
    hold: OpenOptions["hold"],
    signal: AbortSignal,
  ): Promise<Digest | undefined> {
    const { files, work } = source;
    const pair = [checkpointFiles.changes, checkpointFiles.deleted].map((name) => files.get(name));
    if (pair.every((each) => each === undefined || each.size === 0)) return undefined;
    const key = pair.map((each) => each?.digest ?? "").join(" ");
    const known = this.#known.get(key);
    if (known !== undefined) {
      hold(known);
      if (this.#deps.layers.has(known)) return known;
    }
    try {
      const made = await this.#make(source, hold, signal);
      if (this.#known.size >= maxKnown) this.#known.clear();
      this.#known.set(key, made);
      return made;
    } catch (cause) {
      throw wrap("make a layer of what the container changed", cause);
    } finally {
      await removeTree(work);
    }
  }

  async #make(source: Source, hold: OpenOptions["hold"], signal: AbortSignal): Promise<Digest> {
    const { layers, maxBytes } = this.#deps;
    await using file = await this.#writeLayer(source, signal);
    const { size, digest } = await digestFile(file, { signal });
    hold(digest);
    if (layers.has(digest)) return digest;
    const most = { most: maxBytes, why: `${maxBytes} bytes ([checkpoint] max_bytes)` };
    const blob = {
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest,
      sizeBytes: BigInt(size),
    };
    await unpackInAnyFormat(async () => {
      const layer = { blob, diffId: digest, registry: noRegistry, limits: { bytes: most } };
      await layers.unpack({ ...layer, chunks: chunksOf(file) }, signal);
    });
    return digest;
  }

  /** The archive of the layer, in a file. Lists and compressed archives are read in a process of their own. */
  async #writeLayer({ directory, files, work }: Source, signal: AbortSignal) {
    const { maxBytes, program } = this.#deps;
    await mkdir(work, { recursive: true, mode: 0o700 });
    const openPart = async (name: string) =>
      files.has(name)
        ? await openRegular(join(directory, name), constants.O_RDONLY, `read "${name}"`)
        : await open("/dev/null");
    await using archive = await openPart(checkpointFiles.changes);
    await using deleted = await openPart(checkpointFiles.deleted);
    await runArchiveProgram({
      program,
      args: ["layer", JSON.stringify(limitsOf(maxBytes, work))],
      limits: { confinement: "archive-reader", root: work },
      streams: { stdin: archive.fd, more: [deleted.fd] },
      signal,
    });
    return await openRegular(join(work, "0"), constants.O_RDONLY, "read the layer");
  }
}

async function* chunksOf(file: {
  read(into: Buffer, at: number, length: number, position: number): Promise<{ bytesRead: number }>;
}): AsyncGenerator<BlobChunk> {
  for (let position = 0; ; ) {
    const piece = Buffer.allocUnsafe(pieceBytes);
    const { bytesRead } = await file.read(piece, 0, pieceBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}
