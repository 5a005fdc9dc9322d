import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, isDigest } from "../../base/digest.ts";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import { TooLarge } from "../../core/snapshot/index.ts";
import { DiskHeadroom } from "../../linux/host/index.ts";
import { removeTree } from "../../linux/file/index.ts";
import { chainOf, maxLowerLayers } from "./chain.ts";
import { CopyUp } from "./copy-up.ts";
import { type LayerFacts, readFacts as readLayerFacts } from "./layer-facts.ts";
import { type LateSync, type LateWriter, readMark } from "./late-sync.ts";
import { LookupBudget, LowerFiles } from "./lower-files.ts";
import { asideOf, COPY_UP_PREFIX, NEW_COPY_UP_PREFIX, type StateLayout } from "./state-layout.ts";
import type { Trash } from "./trash.ts";

/** What the copy-ups need. */
interface CopyUpsDeps {
  readonly paths: StateLayout;
  readonly trash: Trash;
  readonly late: LateSync;
  readonly bootId: string;
  readonly log: Logger;
  readonly findLayer: (diffId: Digest) => LayerFacts | undefined;
}

interface Known {
  /** Lowest first; the last one is the layer that it is mounted on. */
  readonly layers: readonly Digest[];
  /** The layer shares nothing with the layers below it. */
  readonly isEmpty: boolean;
}

/** A copy-up that is not published yet. */
interface Made extends Known {
  readonly directory: string;
  readonly writer: LateWriter;
}

/**
 * The files that layers share with the layers below them, for each chain of layers of an image. A layer
 * itself is the same in every image; this part of it is not, and no two chains share it. It is a directory
 * that is mounted on the layer, and is removed with the first layer of its chain that is removed.
 */
export class CopyUps {
  readonly #deps: CopyUpsDeps;
  readonly #known = new Map<string, Known>();
  readonly #locks = new KeyedLock();
  /** Directories that are not published yet. */
  readonly #making = new Set<string>();

  private constructor(deps: CopyUpsDeps) {
    this.#deps = deps;
  }

  /** Reads the existing ones. One that cannot be read, or whose layer is missing, is left to sweep(). */
  static async open(deps: CopyUpsDeps): Promise<CopyUps> {
    const copyUps = new CopyUps(deps);
    for (const name of await readdir(deps.paths.layers)) {
      if (!name.startsWith(COPY_UP_PREFIX)) continue;
      const directory = join(deps.paths.layers, name);
      try {
        const known = await readFacts(directory);
        const mark = await readMark(directory);
        // What the machine stopped for is made again.
        if (mark !== undefined && mark.bootId !== deps.bootId) continue;
        if (!known.layers.every((layer) => deps.findLayer(layer) !== undefined)) continue;
        copyUps.#known.set(name, known);
        if (mark !== undefined) deps.late.resume(directory, mark);
      } catch (cause) {
        deps.log.warn(`"${name}" of the layers is ignored: ${messageOf(cause)}`);
      }
    }
    return copyUps;
  }

  /**
   * Makes the files that each of these layers, lowest first, shares with those below it; durable later, as layers.
   * Idempotent. `invalid-argument` for a hard link to a file that none of them has, `failed-precondition` for
   * layers that need too many lookups or are too many to be mounted, `resource-exhausted` before the disk is
   * full; then nothing is left.
   */
  async complete(layers: readonly Digest[], signal: AbortSignal): Promise<void> {
    const made = new Map<string, Made>();
    const whole = chainOf(layers);
    const budget = new LookupBudget(signal);
    let mounted = whole.length;
    try {
      for (const at of whole.keys()) {
        if (!this.#isNeeded(whole, at)) continue;
        const chain = whole.slice(0, at + 1);
        signal.throwIfAborted();
        const known = this.#known.get(nameOf(chain)) ?? (await this.#make(chain, made, budget));
        if (!known.isEmpty) mounted++;
      }
      checkMounted(mounted);
      for (const [name, each] of made) await this.#publish(name, each);
    } finally {
      for (const { directory, writer } of made.values()) await this.#discard(directory, writer);
    }
  }

  /** The first of these layers that was not completed. */
  lacking(layers: readonly Digest[]): Digest | undefined {
    return chainOf(layers).find(
      (_, at, chain) =>
        this.#isNeeded(chain, at) && !this.#known.has(nameOf(chain.slice(0, at + 1))),
    );
  }

  /**
   * The directory with the files that layer number `at` of a chain shares with those below it, relative to the
   * directory of the layers; `undefined` for none. `not-found` for a layer that was not completed.
   */
  directoryOf(chain: readonly Digest[], at: number): string | undefined {
    if (!this.#isNeeded(chain, at)) return undefined;
    const name = nameOf(chain.slice(0, at + 1));
    const known = this.#known.get(name);
    if (known === undefined) {
      throw new RuntimeError(
        "not-found",
        `mount root: layer "${chain[at] ?? ""}" was not completed on the layers below it, pull the image again`,
      );
    }
    return known.isEmpty ? undefined : `${name}/fs`;
  }

  /** Removes the copy-ups of all chains with this layer. */
  async removeWith(layer: Digest): Promise<void> {
    for (const [name, { layers }] of [...this.#known]) {
      if (!layers.includes(layer)) continue;
      using _turn = await this.#locks.acquire(name);
      this.#known.delete(name);
      await this.#throwAway(name);
    }
  }

  /** Removes the copy-ups of chains that do not begin one of these, see {@link Layers.removeCopyUps}. */
  async removeExcept(chains: () => Iterable<readonly Digest[]>): Promise<readonly string[]> {
    if (this.#known.size === 0) return [];
    const used = keysOf(chains());
    const isUsed = (known: Known, keys = used): boolean =>
      keys.some((each) => each.startsWith(keyOf(known.layers)));
    const lines: string[] = [];
    for (const [name, known] of [...this.#known]) {
      if (isUsed(known)) continue;
      using _turn = await this.#locks.acquire(name);
      // A pull may have claimed such a chain while another copy-up was being removed.
      if (isUsed(known, keysOf(chains())) || !this.#known.delete(name)) continue;
      await this.#throwAway(name);
      lines.push(`removed "${name}", which a removed image shared with the layers below it`);
    }
    return lines;
  }

  /** Deletes unfinished copy-ups of an earlier daemon, and those whose chain lacks a layer. */
  async sweep(): Promise<readonly string[]> {
    const { paths } = this.#deps;
    const lines: string[] = [];
    for (const name of await readdir(paths.layers)) {
      const path = join(paths.layers, name);
      if (!name.startsWith(NEW_COPY_UP_PREFIX) && !name.startsWith(COPY_UP_PREFIX)) continue;
      // A copy-up that a pull is publishing is known once it has its name.
      using _turn = await this.#locks.acquire(name);
      if (this.#making.has(path) || this.#known.has(name)) continue;
      await this.#throwAway(name);
      lines.push(`removed "${path}", which is incomplete or lacks its layers`);
    }
    return lines;
  }

  #isNeeded(chain: readonly Digest[], at: number): boolean {
    const layer = chain[at];
    const kind = layer === undefined ? undefined : this.#deps.findLayer(layer)?.hasOfBelow;
    // Nothing is below the first layer; its links fail with that.
    return kind === "links" || (kind === "directories" && at > 0);
  }

  async #make(
    chain: readonly Digest[],
    made: Map<string, Made>,
    budget: LookupBudget,
  ): Promise<Made> {
    const top = chain.at(-1) ?? "";
    const { layers } = this.#deps.paths;
    const directory = asideOf(layers, NEW_COPY_UP_PREFIX);
    this.#making.add(directory);
    const writer = this.#deps.late.begin();
    try {
      await mkdir(directory, { mode: 0o700 });
      const isEmpty = !(await this.#fill(directory, chain, made, budget));
      const facts = { version: 1, layers: chain, isEmpty };
      await writeFile(join(directory, "copy-up.json"), `${JSON.stringify(facts)}\n`);
      await writer.mark(directory);
      const each = { directory, writer, layers: chain, isEmpty };
      made.set(nameOf(chain), each);
      return each;
    } catch (cause) {
      await this.#discard(directory, writer);
      throw wrap(`unpack layer "${top}"`, cause);
    }
  }

  async #fill(
    directory: string,
    chain: readonly Digest[],
    made: ReadonlyMap<string, Made>,
    budget: LookupBudget,
  ): Promise<boolean> {
    const { paths, findLayer } = this.#deps;
    const top = chain.at(-1);
    if (top === undefined) return false;
    const { fromBelow } = await readLayerFacts(paths.layer(top));
    if (fromBelow === undefined) return false;
    const below: string[] = [];
    for (let at = chain.length - 2; at >= 0; at--) {
      const layer = chain[at];
      if (layer === undefined) continue;
      const name = nameOf(chain.slice(0, at + 1));
      const up = made.get(name) ?? this.#known.get(name);
      const upDirectory = made.get(name)?.directory ?? join(paths.layers, name);
      if (up?.isEmpty === false) below.push(join(upDirectory, "fs"));
      below.push(join(paths.layer(layer), "fs"));
      if (findLayer(layer)?.rootOpaque === true) break;
    }
    const own = join(paths.layer(top), "fs");
    const lower = new LowerFiles(below, budget);
    const room = new DiskHeadroom(paths.root);
    return await new CopyUp(join(directory, "fs"), own, lower, { room, budget }).make(fromBelow);
  }

  /** One that another pull published in the meantime may be mounted, and is kept. */
  async #publish(name: string, { directory, writer, layers, isEmpty }: Made): Promise<void> {
    using _turn = await this.#locks.acquire(name);
    if (this.#known.has(name)) return;
    // A directory that was ignored at the start may have this name.
    await this.#throwAway(name);
    const path = join(this.#deps.paths.layers, name);
    await rename(directory, path);
    writer.publish(path);
    this.#known.set(name, { layers, isEmpty });
  }

  /** Removes the directory of a copy-up, if there is one. */
  async #throwAway(name: string): Promise<void> {
    const { paths, late, trash } = this.#deps;
    await late.forget(join(paths.layers, name));
    await trash.take(paths.layers, name);
  }

  /** Without effect when it was published. If it fails, the sweep of the next start removes the directory. */
  async #discard(directory: string, writer: LateWriter): Promise<void> {
    using _writer = writer;
    try {
      await removeTree(directory);
    } catch (cause) {
      this.#deps.log.warn(`cannot remove unfinished copy-up "${directory}": ${messageOf(cause)}`);
    } finally {
      this.#making.delete(directory);
    }
  }
}

function checkMounted(count: number): void {
  if (count <= maxLowerLayers) return;
  throw new TooLarge(
    `mount layers: with the files that they share they are ${count} directories, and overlayfs mounts ` +
      `${maxLowerLayers}; build the image with fewer layers`,
  );
}

function keysOf(chains: Iterable<readonly Digest[]>): readonly string[] {
  return Array.from(chains, (chain) => keyOf(chainOf(chain)));
}

/** A chain that begins with another one has a key that begins with that one's. */
function keyOf(chain: readonly Digest[]): string {
  return chain.map((layer) => `${layer} `).join("");
}

/** The name depends on all layers of the chain, because the content does. */
function nameOf(chain: readonly Digest[]): string {
  return `${COPY_UP_PREFIX}${createHash("sha256").update(chain.join(" ")).digest("hex")}`;
}

async function readFacts(directory: string): Promise<Known> {
  const value: unknown = JSON.parse(await readFile(join(directory, "copy-up.json"), "utf8"));
  if (typeof value === "object" && value !== null && "layers" in value && "isEmpty" in value) {
    const { layers, isEmpty } = value;
    if (Array.isArray(layers) && typeof isEmpty === "boolean") {
      const digests = layers.filter((layer) => typeof layer === "string" && isDigest(layer));
      if (digests.length === layers.length) return { layers: digests, isEmpty };
    }
  }
  throw new Error(`"${directory}/copy-up.json" names no layers`);
}
