import type { Digest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { ContainerStore } from "../../core/container/index.ts";
import { hasDigest, type Image, type ImageUseRecords } from "../../core/image/index.ts";
import type { FileSystemSpace } from "../../core/snapshot/index.ts";
import type { CollectReason } from "./collected.ts";
import type { ImageContext } from "./context.ts";
import { removeImage } from "./remove.ts";
import { sweepLayers } from "./sweep.ts";
import { usedPercent } from "./used-percent.ts";

// How often unused images are looked for, and uses are recorded.
const everyMs = 60_000;
// An image that was used later than this is never removed, as in kubelet: its container may follow.
const minUnusedMs = 120_000;
// The same while images are pulled: kubelet pulls those of a pod one after another, volumes first.
const minUnusedInPullMs = 600_000;
// Images that one pass removes, so that the disk is not busy with deletions for long.
const maxRemovals = 5;

/** When images are removed. At least one of the two is on. */
export interface CollectorSettings {
  /** Images that were not used for this long are removed; 0 for never. */
  readonly unusedMs: number;
  /**
   * If the layers' file system is used to `high` percent, in bytes or inodes, images are removed until it is
   * used to `low` percent; a `high` of 0 for never.
   */
  readonly high: number;
  readonly low: number;
}

/** What the collector needs. */
interface CollectorDeps {
  readonly images: ImageContext;
  readonly containers: Pick<ContainerStore, "all" | "listen">;
  readonly records: ImageUseRecords;
  readonly settings: CollectorSettings;
}

/**
 * Removes images that nobody uses, the longest unused first. kubelet collects images itself, and pods may rely
 * on an image that they cannot pull, so this is off unless the administrator turns it on.
 *
 * Never removed: a pinned image, one that a container or a snapshot needs, one that is being pulled, and one that was pulled,
 * asked for by name or used by a container in the last 2 minutes; while images are pulled, in the last 10
 * minutes or since 2 minutes before the oldest of these pulls began. The time of the last use survives a
 * restart; an image whose last use is unknown counts as used now.
 */
export class ImageCollector implements AsyncDisposable {
  readonly #deps: CollectorDeps;
  /** By image, milliseconds since 1970. */
  readonly #lastUse: Map<Digest, number>;
  #timer: NodeJS.Timeout | undefined;
  #space: FileSystemSpace | undefined;
  /** The warning about a full disk without unused images has been given. */
  #isHelpless = false;

  private constructor(deps: CollectorDeps, lastUse: ReadonlyMap<Digest, number>) {
    this.#deps = deps;
    this.#lastUse = new Map(lastUse);
  }

  /** Reads the recorded uses. The first pass is a minute later. */
  static async open(deps: CollectorDeps): Promise<ImageCollector> {
    const collector = new ImageCollector(deps, await deps.records.load());
    deps.containers.listen((container, change) => {
      if (change === "removed") collector.#usedBy(container);
    });
    collector.#schedule();
    return collector;
  }

  /** Notes that an image was pulled or asked for. */
  used(image: Digest): void {
    // The clock may have been wrong at the boot.
    const now = this.#deps.images.clock.nowMs();
    this.#lastUse.set(image, Math.max(now, this.#lastUse.get(image) ?? 0));
  }

  /** For the verbose Status: the use of the file system when it was last read, and what may be removed. */
  view(): Readonly<Record<string, unknown>> {
    const { settings } = this.#deps;
    return {
      ...settings,
      ...(this.#space && { usedPercent: usedPercent(this.#space) }),
      unusedImages: this.#unused(minUnusedMs).length,
    };
  }

  /** One pass: notes the uses, removes at most 5 images, and records the uses. */
  async collect(): Promise<void> {
    const { images, containers, settings } = this.#deps;
    for (const container of containers.all()) this.#usedBy(container);
    for (const { id } of images.store.all()) if (!this.#lastUse.has(id)) this.used(id);
    let left = maxRemovals;
    if (settings.unusedMs > 0) {
      for (const image of this.#unused(Math.max(settings.unusedMs, minUnusedMs)).slice(0, left)) {
        left--;
        await this.#remove(image, "age");
      }
    }
    if (settings.high > 0) await this.#relieve(left);
    await this.#save();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    await this.#save();
  }

  /** Without those of removed images. */
  async #save(): Promise<void> {
    const { images, records } = this.#deps;
    const known = new Set([...images.store.all()].map(({ id }) => id));
    for (const id of this.#lastUse.keys()) if (!known.has(id)) this.#lastUse.delete(id);
    await records.save(this.#lastUse);
  }

  #schedule(): void {
    const { tasks, log } = this.#deps.images;
    this.#timer = setTimeout(() => {
      tasks.spawn("collect unused images", async (signal) => {
        try {
          await this.collect();
        } catch (error) {
          log.warn("failed to collect unused images; will retry", { error: messageOf(error) });
        }
        if (!signal.aborted) this.#schedule();
      });
    }, everyMs);
    this.#timer.unref();
  }

  /** Deletions run in the background, so the next pass waits for those of this one. */
  async #relieve(most: number): Promise<void> {
    const { images, settings } = this.#deps;
    if (images.layers.isDeleting) return;
    const space = await images.layers.space();
    this.#space = space;
    const isOver = usedPercent(space) >= settings.high;
    if (!isOver) this.#isHelpless = false;
    if (!isOver) return;
    const before = images.layers.usage();
    await sweepLayers(images, "pressure");
    const isEnough = (): boolean => {
      const now = images.layers.usage();
      const freeBytes = space.freeBytes + Number(before.bytes - now.bytes);
      const freeInodes = space.freeInodes + Number(before.inodes - now.inodes);
      return usedPercent({ ...space, freeBytes, freeInodes }) <= settings.low;
    };
    const unused = this.#unused(minUnusedMs);
    for (const image of unused.slice(0, most)) {
      if (isEnough()) return;
      await this.#remove(image, "pressure");
    }
    if (unused.length > 0 || isEnough() || this.#isHelpless) return;
    this.#isHelpless = true;
    images.log.warn(
      "the file system of the layers is too full, and all images are pinned or in use: free space or enlarge it",
      {
        directory: images.layers.directory,
        usedPercent: usedPercent(space),
        highPercent: settings.high,
      },
    );
  }

  async #remove(image: Image, reason: CollectReason): Promise<void> {
    const { layers, log, collected, clock } = this.#deps.images;
    // A container or a pull may have begun to use it during the removal of another one.
    if (!this.#isUnused(image, minUnusedMs)) return;
    const of = image.layers.map(({ diffId }) => diffId);
    const { bytes: before } = layers.usage(of);
    const unusedMs = clock.nowMs() - (this.#lastUse.get(image.id) ?? 0);
    const fields = { image: image.id, tags: image.repoTags.slice(0, 10), reason };
    try {
      await removeImage(this.#deps.images, image.id);
    } catch (error) {
      log.warn("failed to remove an unused image", { ...fields, error: messageOf(error) });
      return;
    }
    const bytes = Number(before - layers.usage(of).bytes);
    collected.add("image", reason, bytes);
    log.info("removed an unused image", {
      ...fields,
      bytes,
      unusedSeconds: Math.round(unusedMs / 1000),
    });
  }

  /** The images that were not used for this long, the longest unused first. */
  #unused(forMs: number): readonly Image[] {
    const last = ({ id }: Image): number => this.#lastUse.get(id) ?? Infinity;
    return [...this.#deps.images.store.all()]
      .filter((image) => this.#isUnused(image, forMs))
      .toSorted((a, b) => last(a) - last(b));
  }

  #isUnused(image: Image, forMs: number): boolean {
    const { images, containers } = this.#deps;
    const lastUse = this.#lastUse.get(image.id);
    if (image.pinned || lastUse === undefined) return false;
    if (hasDigest(image, images.neededBySnapshots())) return false;
    if (images.clock.nowMs() - lastUse < Math.max(forMs, this.#sparedMs())) return false;
    const own = image.layers.map(({ diffId }) => diffId).join();
    const isPulled = [...images.pulls.claimedChains()].some((chain) => chain.join() === own);
    return !isPulled && ![...containers.all()].some((each) => imagesOf(each).includes(image.id));
  }

  /** Images that were used within this time may be of a pod whose other images are still being pulled. */
  #sparedMs(): number {
    const pulls = this.#deps.images.operations
      .views()
      .filter(({ operation }) => operation === "pull-image");
    if (pulls.length === 0) return minUnusedMs;
    const oldestMs = Math.max(...pulls.map(({ ageMs }) => ageMs));
    return Math.max(minUnusedInPullMs, oldestMs + minUnusedMs);
  }

  #usedBy(container: Parameters<typeof imagesOf>[0]): void {
    for (const image of imagesOf(container)) this.used(image);
  }
}

/** The images that a container uses: its own, and those of its image volumes. */
function imagesOf({
  image,
  imageVolumes,
}: {
  readonly image: { readonly id: Digest };
  readonly imageVolumes: readonly { readonly image: Digest }[];
}): readonly Digest[] {
  return [image.id, ...imageVolumes.map((volume) => volume.image)];
}
