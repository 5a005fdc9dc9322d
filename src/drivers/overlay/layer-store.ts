import { chmod, mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, hexOf, isDigest } from "../../base/digest.ts";
import { messageOf, wrap } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { LayerOrigin, LayerSource, Usage } from "../../core/snapshot/index.ts";
import { errnoCode, SystemError } from "../../base/system-error.ts";
import { removeTree } from "../../linux/file/index.ts";
import { begin } from "./begun.ts";
import { GroupSync } from "./group-sync.ts";
import {
  factsFile,
  formatFacts,
  hasOrigin,
  type LayerFacts,
  readFacts,
  type StoredFacts,
  summaryOf,
  withOrigin,
} from "./layer-facts.ts";
import { asideOf, GONE_PREFIX, NEW_PREFIX, type StateLayout, UNCLAIMED } from "./places.ts";
import { Spool } from "./spool.ts";
import type { Trash } from "./trash.ts";
import { type UnpackTurn, UnpackTurns, type UnpackTurnsOptions } from "./unpack-turns.ts";
import { type UnpackerCommand, unpackBlob } from "./unpacker.ts";

/** What the layers need. */
export interface LayerStoreDeps {
  readonly places: StateLayout;
  readonly trash: Trash;
  readonly log: Logger;
  readonly unpacker: UnpackerCommand;
  /** How many unpackers there may be, where it is not as usual. */
  readonly turns: Partial<UnpackTurnsOptions>;
  readonly stallMs: number;
}

/** The unpacked layers on disk, with an index in memory. */
export class LayerStore {
  readonly #deps: LayerStoreDeps;
  readonly #layers = new Map<Digest, LayerFacts>();
  /** Those with a mark that no image has stood on them yet, and since when. */
  readonly #unclaimed = new Map<Digest, bigint>();
  /** Those whose facts are too old to say where they have come from. */
  readonly #unattributed = new Set<Digest>();
  readonly #locks = new KeyedLock();
  readonly #turns: UnpackTurns;
  readonly #durable: GroupSync;
  /** Directories of unpacks under way. */
  readonly #making = new Set<string>();

  private constructor(deps: LayerStoreDeps) {
    this.#deps = deps;
    this.#turns = new UnpackTurns(deps.turns);
    this.#durable = new GroupSync(deps.places.layers);
  }

  /** Finds the layers that are there. One without readable facts counts as missing, with a warning. */
  static async open(deps: LayerStoreDeps): Promise<LayerStore> {
    const store = new LayerStore(deps);
    const { places, log } = deps;
    // Files of images with setuid bits are nobody's business on the host.
    await mkdir(places.empty, { recursive: true, mode: 0o700 });
    await chmod(places.layers, 0o700).catch(unlessReadOnly);
    for (const name of await readdir(places.layers)) {
      const diffId = `sha256:${name}`;
      if (!isDigest(diffId)) continue;
      try {
        const directory = places.layer(diffId);
        const facts = summaryOf(await readFacts(directory));
        store.#layers.set(diffId, facts);
        if (facts.origins === undefined) store.#unattributed.add(diffId);
        const mark = await stat(join(directory, UNCLAIMED), { bigint: true }).catch(
          () => undefined,
        );
        if (mark !== undefined) store.#unclaimed.set(diffId, mark.mtimeNs);
      } catch (cause) {
        log.warn(`layer "${diffId}" is left out until it is pulled again: ${messageOf(cause)}`);
      }
    }
    return store;
  }

  find(diffId: Digest): LayerFacts | undefined {
    return this.#layers.get(diffId);
  }

  isFrom(diffId: Digest, origin: LayerOrigin): boolean {
    const facts = this.#layers.get(diffId);
    return facts !== undefined && hasOrigin(facts, origin);
  }

  /** See Snapshots.attributeLayer. */
  attribute(diffId: Digest, origin: LayerOrigin): void {
    const facts = this.#layers.get(diffId);
    if (facts === undefined || !this.#unattributed.has(diffId)) return;
    this.#layers.set(diffId, withOrigin(facts, origin));
  }

  unclaimed(): ReadonlyMap<Digest, bigint> {
    return this.#unclaimed;
  }

  /** A mark that stays, as on a disk that is read-only, only lets an unused layer live longer. */
  async claim(diffId: Digest): Promise<void> {
    if (!this.#unclaimed.delete(diffId)) return;
    try {
      await rm(join(this.#deps.places.layer(diffId), UNCLAIMED), { force: true });
    } catch (cause) {
      this.#deps.log.warn(`cannot take the mark off layer "${diffId}": ${messageOf(cause)}`);
    }
  }

  list(): readonly Digest[] {
    return [...this.#layers.keys()];
  }

  /** Of all layers, or of these. One that is not here counts nothing. */
  usage(of: Iterable<Digest> = this.#layers.keys()): Usage {
    let [bytes, inodes] = [0, 0];
    for (const diffId of new Set(of)) {
      const layer = this.#layers.get(diffId);
      bytes += layer?.bytes ?? 0;
      inodes += layer?.inodes ?? 0;
    }
    return { bytes: BigInt(bytes), inodes: BigInt(inodes) };
  }

  /**
   * See Snapshots.unpackLayer. Two that unpack the same layer do not wait for each other, since their
   * sources may be of different speed, or false: the first one that is done gives the layer.
   */
  async unpack(
    layer: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<void> {
    const { diffId } = layer;
    const { layers } = this.#deps.places;
    const directory = asideOf(layers, NEW_PREFIX);
    this.#making.add(directory);
    try {
      const facts = await this.#fill(directory, layer, signal, operation);
      using _turn = await this.#locks.acquire(diffId, signal);
      await operation?.enter("publish");
      const known = this.#layers.get(diffId);
      if (known !== undefined) {
        await this.#discard(directory);
        await this.#addOrigin(diffId, known, originOf(layer));
        return;
      }
      await this.#finish(directory, facts, signal);
      await this.#publish(directory, diffId);
      this.#layers.set(diffId, summaryOf(facts));
      this.#unclaimed.set(diffId, BigInt(Date.now()) * 1_000_000n);
    } catch (cause) {
      await this.#discard(directory);
      throw cause;
    } finally {
      this.#making.delete(directory);
    }
  }

  async remove(diffId: Digest): Promise<void> {
    using _turn = await this.#locks.acquire(diffId);
    this.#layers.delete(diffId);
    this.#unclaimed.delete(diffId);
    this.#unattributed.delete(diffId);
    await this.#deps.trash.take(this.#deps.places.layers, hexOf(diffId));
  }

  /** Deletes what an earlier daemon left half-made or half-deleted; a line for each half-made one. */
  async sweep(): Promise<readonly string[]> {
    const lines: string[] = [];
    const { places, trash } = this.#deps;
    for (const name of await readdir(places.layers)) {
      const path = join(places.layers, name);
      if (this.#making.has(path)) continue;
      if (name.startsWith(GONE_PREFIX)) trash.delete(path);
      if (name.startsWith(NEW_PREFIX)) {
        lines.push(`removed half-unpacked layer "${path}"`);
        await trash.take(places.layers, name);
      }
    }
    return lines;
  }

  /** Writes what belongs beside the files, and makes all of it durable. */
  async #finish(directory: string, facts: StoredFacts, signal: AbortSignal): Promise<void> {
    try {
      await writeFile(join(directory, factsFile), formatFacts(facts));
      await writeFile(join(directory, UNCLAIMED), "");
    } catch (cause) {
      throw failure(`write facts of the layer in "${directory}"`, cause);
    }
    await this.#durable.sync();
    signal.throwIfAborted();
  }

  /** Where it cannot be written, as on a full disk, the next daemon fetches the layer from there again. */
  async #addOrigin(diffId: Digest, known: LayerFacts, origin: LayerOrigin): Promise<void> {
    const facts = withOrigin(known, origin);
    const directory = this.#deps.places.layer(diffId);
    const path = join(directory, factsFile);
    const next = `${path}.new`;
    try {
      const stored = await readFacts(directory);
      await writeFile(next, formatFacts({ ...stored, origins: facts.origins }));
      // Before the rename: a power cut must not leave the name without the text.
      await this.#durable.sync();
      await rename(next, path);
    } catch (cause) {
      await rm(next, { force: true }).catch(() => undefined);
      this.#deps.log.warn(`cannot write where layer "${diffId}" came from: ${messageOf(cause)}`);
    }
    this.#layers.set(diffId, facts);
    this.#unattributed.delete(diffId);
  }

  /** Nothing that others need is held while the layer's source has no bytes. */
  async #fill(
    directory: string,
    layer: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<StoredFacts> {
    await operation?.enter("make-directory");
    const files = join(directory, "fs");
    try {
      await mkdir(files, { recursive: true });
      await chmod(files, 0o755); // whatever the umask is
    } catch (cause) {
      throw failure(`make directory "${files}"`, cause);
    }
    await operation?.enter("unpack");
    using chunks = await begin(layer.chunks, signal);
    const begun = { ...layer, chunks };
    using turn = await this.#turns.take(layer.registry, signal);
    if (turn !== undefined) return await this.#unpack(files, begun, signal, turn);
    const disk = this.#deps.places.root;
    await using spool = await Spool.fill({ layer: begun, directory: directory, disk, signal });
    using _turn = await this.#turns.takeForLocal(signal);
    return await this.#unpack(files, { ...layer, chunks: spool.chunks() }, signal);
  }

  async #unpack(
    files: string,
    layer: LayerSource,
    signal: AbortSignal,
    turn?: UnpackTurn,
  ): Promise<StoredFacts> {
    const { unpacker, stallMs, places } = this.#deps;
    const { bytes, inodes, rootOpaque, fromBelow } = await unpackBlob({
      command: unpacker,
      directory: files,
      layer,
      disk: places.root,
      turn,
      signal,
      stallMs,
    });
    return { bytes, inodes, rootOpaque, fromBelow, origins: [originOf(layer)] };
  }

  /** Gives the layer its name, durably: a record of its image may follow. */
  async #publish(directory: string, diffId: Digest): Promise<void> {
    const { places, trash } = this.#deps;
    // One that was left out at the start may be in the place.
    await trash.take(places.layers, hexOf(diffId));
    try {
      await rename(directory, places.layer(diffId));
      await using names = await open(places.layers);
      await names.sync();
    } catch (cause) {
      throw failure(`publish layer "${diffId}"`, cause);
    }
  }

  /** When even that fails, the next start's sweep finds the directory. */
  async #discard(directory: string): Promise<void> {
    try {
      await removeTree(directory);
    } catch (cause) {
      this.#deps.log.warn(`cannot remove half-unpacked layer "${directory}": ${messageOf(cause)}`);
    }
  }
}

function originOf({ registry, blob: { digest, sizeBytes } }: LayerSource): LayerOrigin {
  return { registry, digest, sizeBytes };
}

/** On a read-only disk what is there must do. */
function unlessReadOnly(cause: unknown): void {
  if (errnoCode(cause) !== "EROFS") throw cause;
}

function failure(doing: string, cause: unknown): Error {
  const code = errnoCode(cause);
  return code === undefined ? wrap(doing, cause) : new SystemError(doing, code, { cause });
}
