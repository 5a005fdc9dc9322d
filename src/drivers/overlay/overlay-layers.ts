import { randomUUID } from "node:crypto";
import { chmod, mkdir, readdir, rename, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, hexOf } from "../../base/digest.ts";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { Operation } from "../../core/operation/index.ts";
import type {
  FileSystemSpace,
  LayerOrigin,
  Layers,
  LayerSource,
  Usage,
} from "../../core/snapshot/index.ts";
import { removeTree } from "../../linux/file/index.ts";
import { chainOf } from "./chain.ts";
import { CopyUps } from "./copy-ups.ts";
import {
  factsFile,
  formatFacts,
  hasOrigin,
  type LayerFacts,
  type LayerFormat,
  originOf,
  readFacts,
  type StoredFacts,
  summaryOf,
  withOrigin,
} from "./layer-facts.ts";
import type { LateSync, LateWriter } from "./late-sync.ts";
import { type LayerImages, openLayerImages } from "./layer-images.ts";
import { type LayerIndex, readLayerIndex } from "./layer-index.ts";
import { failure, LayerUnpacks, type LayerUnpacksDeps } from "./layer-unpacks.ts";
import type { VerityMode } from "./verity-mode.ts";
import { asideOf, GONE_PREFIX, NEW_PREFIX, UNCLAIMED } from "./state-layout.ts";
import type { Trash } from "./trash.ts";

/** What the layers need. */
interface OverlayLayersDeps extends LayerUnpacksDeps {
  readonly trash: Trash;
  readonly late: LateSync;
  readonly bootId: string;
  readonly log: Logger;
  /** How new layers are stored, if the machine supports it. */
  readonly format: LayerFormat;
  readonly verity: VerityMode;
}

/**
 * Layers as directories or EROFS images, with an index in memory. They are on the disk a moment after they are
 * published, see {@link LateSync}.
 */
export class OverlayLayers implements Layers {
  readonly directory: string;
  readonly #deps: OverlayLayersDeps;
  readonly #index: LayerIndex;
  readonly #copyUps: CopyUps;
  readonly #images: LayerImages;
  readonly #locks = new KeyedLock();
  readonly #unpacks: LayerUnpacks;
  /** Directories of unpacks in progress. */
  readonly #making = new Set<string>();

  private constructor(
    deps: OverlayLayersDeps,
    parts: { index: LayerIndex; copyUps: CopyUps; images: LayerImages },
  ) {
    this.directory = deps.paths.root;
    this.#deps = deps;
    this.#index = parts.index;
    this.#copyUps = parts.copyUps;
    this.#images = parts.images;
    this.#unpacks = new LayerUnpacks(deps, parts.images);
  }

  /** Makes the directory of the layers, and reads the layers in it. */
  static async open(deps: OverlayLayersDeps): Promise<OverlayLayers> {
    const { paths, trash, late, bootId, log } = deps;
    // Images contain files with setuid bits, which no user of the host may reach.
    await mkdir(paths.empty, { recursive: true, mode: 0o700 });
    await chmod(paths.layers, 0o700).catch((cause: unknown) => {
      if (errnoCode(cause) !== "EROFS") throw cause; // a read-only disk can still be read
    });
    const index = await readLayerIndex(paths, bootId, log);
    const images = await openLayerImages({ ...deps, index });
    const findLayer = (diffId: Digest): LayerFacts | undefined => index.layers.get(diffId);
    const copyUps = await CopyUps.open({ paths, trash, late, bootId, log, findLayer });
    for (const [diffId, mark] of index.unsynced) late.resume(paths.layer(diffId), mark);
    return new OverlayLayers(deps, { index, copyUps, images });
  }

  /** How new layers are stored. */
  get format(): LayerFormat {
    return this.#images.format;
  }

  /** Whether new layers that are images have fs-verity: "on", or why not. */
  get verity(): string {
    return this.#images.verity;
  }

  /** The number of unpackers that wait for a turn. */
  get waitingUnpackers(): number {
    return this.#unpacks.waiting;
  }

  has(diffId: Digest): boolean {
    return this.#index.layers.has(diffId);
  }

  hasFrom(diffId: Digest, origin: LayerOrigin): boolean {
    const facts = this.#index.layers.get(diffId);
    return facts !== undefined && hasOrigin(facts, origin);
  }

  attribute(diffId: Digest, origin: LayerOrigin): void {
    const { layers, unattributed } = this.#index;
    const facts = layers.get(diffId);
    if (facts === undefined || !unattributed.has(diffId)) return;
    layers.set(diffId, withOrigin(facts, origin));
  }

  async complete(layers: readonly Digest[], signal: AbortSignal): Promise<void> {
    // Without anything to make, nothing is mounted.
    const used = this.#copyUps.lacking(layers) === undefined ? [] : layers;
    const user = `complete-${randomUUID()}`;
    try {
      await this.use(user, used);
      await this.#copyUps.complete(layers, signal);
    } finally {
      await this.release(user);
    }
  }

  lacking(layers: readonly Digest[]): Digest | undefined {
    return layers.find((diffId) => !this.has(diffId)) ?? this.#copyUps.lacking(layers);
  }

  list(): readonly Digest[] {
    return [...this.#index.layers.keys()];
  }

  unclaimed(): ReadonlyMap<Digest, bigint> {
    return this.#index.unclaimed;
  }

  /** A mark that cannot be removed, as on a read-only disk, only delays the removal of an unused layer. */
  async claim(layers: Iterable<Digest>): Promise<void> {
    for (const diffId of layers) {
      if (!this.#index.unclaimed.delete(diffId)) continue;
      try {
        await rm(join(this.#deps.paths.layer(diffId), UNCLAIMED), { force: true });
      } catch (cause) {
        this.#deps.log.warn(`cannot mark layer "${diffId}" as used: ${messageOf(cause)}`);
      }
    }
  }

  /**
   * The directories to mount for these layers, topmost first, relative to the directory of the layers.
   * `not-found` for a layer that is missing or was not completed.
   */
  lowerOf(layers: readonly Digest[]): readonly string[] {
    const names: string[] = [];
    const chain = chainOf(layers);
    for (const [at, diffId] of [...chain.entries()].reverse()) {
      const facts = this.#index.layers.get(diffId);
      if (facts === undefined) {
        throw new RuntimeError(
          "not-found",
          `mount root: layer "${diffId}" is missing, pull the image again`,
        );
      }
      const copyUp = this.#copyUps.directoryOf(chain, at);
      if (copyUp !== undefined) names.push(copyUp);
      names.push(`${hexOf(diffId)}/fs`);
      if (facts.rootOpaque) break;
    }
    return names;
  }

  /**
   * Mounts those of these layers that are images, until release(). Returns the text of the file MOUNTED_LAYERS for
   * the directory of a root; `undefined` without one. A failure is undone by release().
   */
  async use(user: string, layers: readonly Digest[]): Promise<string | undefined> {
    const known = this.#index.layers;
    const images = chainOf(layers).filter((layer) => known.get(layer)?.format === "erofs");
    return images.length === 0 ? undefined : await this.#images.mounts?.use(user, images);
  }

  /** Ends use(). Idempotent. */
  async release(user: string): Promise<void> {
    await this.#images.mounts?.release(user);
  }

  /** Unmounts what no root uses. */
  async close(): Promise<void> {
    await this.#images.mounts?.close();
  }

  usage(of: Iterable<Digest> = this.#index.layers.keys()): Usage {
    let [bytes, inodes] = [0, 0];
    for (const diffId of new Set(of)) {
      const layer = this.#index.layers.get(diffId);
      bytes += layer?.bytes ?? 0;
      inodes += layer?.inodes ?? 0;
    }
    return { bytes: BigInt(bytes), inodes: BigInt(inodes) };
  }

  /**
   * Two unpacks of the same layer do not wait for each other, since their sources may be of different
   * speed, or wrong: the first one that succeeds provides the layer.
   */
  async unpack(
    layer: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<void> {
    const { diffId } = layer;
    const { layers } = this.#deps.paths;
    const directory = asideOf(layers, NEW_PREFIX);
    using writer = this.#deps.late.begin();
    this.#making.add(directory);
    try {
      const facts = await this.#unpacks.fill(directory, layer, signal, operation);
      using _turn = await this.#locks.acquire(diffId, signal);
      await operation?.enter("publish");
      const known = this.#index.layers.get(diffId);
      if (known !== undefined) {
        await this.#discard(directory);
        await this.#addOrigin(diffId, known, originOf(layer));
        return;
      }
      await this.#finish(directory, facts, writer);
      signal.throwIfAborted();
      await this.#publish(directory, diffId);
      writer.publish(this.#deps.paths.layer(diffId));
      this.#index.layers.set(diffId, summaryOf(facts));
      this.#index.unclaimed.set(diffId, BigInt(Date.now()) * 1_000_000n);
    } catch (cause) {
      await this.#discard(directory);
      this.#images.failed(diffId, cause);
      throw cause;
    } finally {
      this.#making.delete(directory);
    }
  }

  async remove(diffId: Digest): Promise<void> {
    await this.#copyUps.removeWith(diffId);
    using _turn = await this.#locks.acquire(diffId);
    this.#index.layers.delete(diffId);
    this.#index.unclaimed.delete(diffId);
    this.#index.unattributed.delete(diffId);
    await this.#images.mounts?.forget(diffId);
    await this.#throwAway(diffId);
  }

  async synced(): Promise<void> {
    await this.#deps.late.synced();
  }

  /** Why a layer could not be written to the disk; `undefined` for one that was, or will be. */
  syncFailureOf(diffId: Digest): string | undefined {
    return this.#deps.late.failureOf(this.#deps.paths.layer(diffId));
  }

  async space(): Promise<FileSystemSpace> {
    const { bsize, blocks, bavail, files, ffree } = await statfs(this.#deps.paths.layers);
    const bytes = { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
    return { ...bytes, totalInodes: files, freeInodes: ffree };
  }

  get isDeleting(): boolean {
    return this.#deps.trash.isDeleting;
  }

  async removeCopyUps(chains: () => Iterable<readonly Digest[]>): Promise<readonly string[]> {
    return await this.#copyUps.removeExcept(chains);
  }

  async sweep(): Promise<readonly string[]> {
    const lines = [...(await this.#copyUps.sweep())];
    const { paths, trash } = this.#deps;
    for (const diffId of this.#index.torn) {
      using _turn = await this.#locks.acquire(diffId);
      if (this.has(diffId)) continue;
      await this.#throwAway(diffId);
      lines.push(`removed layer "${diffId}", which was not on the disk when the machine stopped`);
    }
    this.#index.torn.clear();
    for (const name of await readdir(paths.layers)) {
      const path = join(paths.layers, name);
      if (this.#making.has(path)) continue;
      if (name.startsWith(GONE_PREFIX)) trash.delete(path);
      if (name.startsWith(NEW_PREFIX)) {
        lines.push(`removed half-unpacked layer "${path}"`);
        await trash.take(paths.layers, name);
      }
    }
    return lines;
  }

  /** Writes the facts of the layer next to its files. */
  async #finish(directory: string, facts: StoredFacts, writer: LateWriter): Promise<void> {
    try {
      await writeFile(join(directory, factsFile), formatFacts(facts));
      await writeFile(join(directory, UNCLAIMED), "");
      await writer.mark(directory);
    } catch (cause) {
      throw failure(`write facts of the layer in "${directory}"`, cause);
    }
  }

  /** If it cannot be written, as on a full disk, the next daemon fetches the layer from this origin again. */
  async #addOrigin(diffId: Digest, known: LayerFacts, origin: LayerOrigin): Promise<void> {
    const facts = withOrigin(known, origin);
    const directory = this.#deps.paths.layer(diffId);
    const path = join(directory, factsFile);
    const next = `${path}.new`;
    try {
      const stored = await readFacts(directory);
      // On the disk before the rename: a power cut must not leave an empty file under this name. A layer with a mark is
      // missing after one anyway, and fsync(2) could write its directory without the mark (btrfs).
      const text = formatFacts({ ...stored, origins: facts.origins });
      await writeFile(next, text, { flush: !this.#deps.late.isMarked(directory) });
      await rename(next, path);
    } catch (cause) {
      await rm(next, { force: true }).catch(() => undefined);
      this.#deps.log.warn(`cannot record the origin of layer "${diffId}": ${messageOf(cause)}`);
    }
    this.#index.layers.set(diffId, facts);
    this.#index.unattributed.delete(diffId);
  }

  /** Renames the layer to its final name. */
  async #publish(directory: string, diffId: Digest): Promise<void> {
    // A layer that was ignored at the start may have this name.
    await this.#images.mounts?.forget(diffId);
    await this.#throwAway(diffId);
    try {
      await rename(directory, this.#deps.paths.layer(diffId));
    } catch (cause) {
      throw failure(`publish layer "${diffId}"`, cause);
    }
  }

  /** Removes the directory of a layer, if there is one. */
  async #throwAway(diffId: Digest): Promise<void> {
    const { paths, late, trash } = this.#deps;
    await late.forget(paths.layer(diffId));
    await trash.take(paths.layers, hexOf(diffId));
  }

  /** If this fails, the sweep of the next start removes the directory. */
  async #discard(directory: string): Promise<void> {
    try {
      await removeTree(directory);
    } catch (cause) {
      this.#deps.log.warn(`cannot remove half-unpacked layer "${directory}": ${messageOf(cause)}`);
    }
  }
}
