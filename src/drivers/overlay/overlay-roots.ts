import { readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../base/digest.ts";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { Operation } from "../../core/operation/index.ts";
import type {
  ImageVolume,
  RootFs,
  RootOptions,
  Roots,
  RootUsers,
  Usage,
  VolumeOwner,
} from "../../core/snapshot/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import {
  diskUsage,
  type FileStep,
  removeTree,
  runFileSteps,
  stepsDone,
} from "../../linux/file/index.ts";
import type { Logger } from "../../base/logger.ts";
import { mountOverlay, type OverlayOptions, unmount } from "../../linux/mount/index.ts";
import type { LayerLimits } from "./layer-limits.ts";
import type { OverlayLayers } from "./overlay-layers.ts";
import { openRootsDirectory, type RootsDirectory } from "./roots-directory.ts";
import { GONE_PREFIX, MOUNTED_LAYERS, type StateLayout } from "./state-layout.ts";
import type { Trash } from "./trash.ts";
import { copyVolumes, imageVolumePath, mountImages, unmountImages, volumePath } from "./volumes.ts";

/** What the roots need. */
interface OverlayRootsDeps {
  readonly paths: StateLayout;
  readonly trash: Trash;
  readonly layers: Pick<OverlayLayers, "lowerOf" | "use" | "release" | "close">;
  readonly log: Logger;
  /** A directory on another file system for the roots; empty for none. */
  readonly writableRoot: string;
  /** The first project id for limits of writable layers; undefined if none has a limit. */
  readonly firstProject: number | undefined;
  /** Mounts as on a kernel before 6.7, for tests. */
  readonly asOldKernel?: boolean;
}

/** How long the result of a walk is cached. */
const USAGE_MS = 10_000;
/** Parallel walks: each one holds a thread of the pool. */
const WALKS = 2;
/** Parallel copies of volumes, for the same reason. */
const COPIES = 4;

interface KnownUsage {
  readonly at: number;
  readonly value: Promise<Usage>;
}

/**
 * Roots as overlay mounts (volatile: an unmount syncs nothing). Needs Linux 5.12; from 6.7 on layers are
 * passed to the kernel one by one.
 */
export class OverlayRoots implements Roots {
  readonly directory: string;
  readonly #isSeparate: boolean;
  readonly #limits: LayerLimits | undefined;
  readonly #deps: OverlayRootsDeps;
  readonly #walks = new Semaphore(WALKS);
  readonly #copies = new Semaphore(COPIES);
  /** Held while a root is created or removed. */
  readonly #locks = new KeyedLock();
  readonly #usage = new Map<string, KnownUsage>();

  private constructor(
    deps: OverlayRootsDeps,
    { directory, isSeparate }: RootsDirectory,
    limits: LayerLimits | undefined,
  ) {
    this.directory = directory;
    this.#isSeparate = isSeparate;
    this.#limits = limits;
    this.#deps = deps;
  }

  /** Prepares the directory of all roots, see {@link openRootsDirectory}, and their limits. */
  static async open(deps: OverlayRootsDeps): Promise<OverlayRoots> {
    const { paths, writableRoot, log } = deps;
    const where = await openRootsDirectory(paths, writableRoot, log);
    return new OverlayRoots(deps, where, await openLimits(deps));
  }

  pathOf(containerId: string): string {
    return join(this.#deps.paths.container(containerId), "merged");
  }

  async mount(
    containerId: string,
    layers: readonly Digest[],
    operation?: Pick<Operation, "enter">,
    options: RootOptions = {},
  ): Promise<RootFs> {
    const directory = this.#deps.paths.container(containerId);
    using _turn = await this.#locks.acquire(containerId);
    const lower = this.#lowerOf(layers);
    await operation?.enter("make-root-directory");
    const mounted = await this.#use(containerId, layers);
    try {
      await runFileSteps(this.#directories(directory, layers.at(-1), options.users, mounted));
    } catch (cause) {
      // A directory that existed before belongs to another container, and is kept.
      const isMade = stepsDone(cause) > 0;
      if (isMade) await this.#discard(containerId, directory);
      throw wrap(`${isMade ? "mount" : "make"} root of container "${containerId}"`, cause);
    }
    try {
      await this.#limit(containerId, directory, options.limitBytes);
      await operation?.enter("mount-root");
      const { asOldKernel = false } = this.#deps;
      const names = { target: "merged", upper: "upper", work: "work" };
      await mountOverlay({ directory, ...names, lower, asOldKernel, ...mountedBy(options) });
    } catch (cause) {
      // Never delete files through a mount, as that of the layers by the pod's ids.
      await unmount(join(directory, "merged"), join(directory, "mapped"));
      await this.#discard(containerId, directory);
      throw wrap(`mount root of container "${containerId}"`, this.#explain(cause));
    }
    return { path: join(directory, "merged") };
  }

  async mountImages(
    containerId: string,
    images: readonly ImageVolume[],
    options: RootOptions = {},
  ): Promise<void> {
    const directory = this.#deps.paths.container(containerId);
    using _turn = await this.#locks.acquire(containerId);
    const volumes = images.map((image) => ({ ...image, lower: this.#lowerOf(image.layers) }));
    const mounted = await this.#use(
      containerId,
      images.flatMap((image) => image.layers),
    );
    if (mounted !== undefined) await runFileSteps([markStep(directory, mounted)]);
    const { asOldKernel = false } = this.#deps;
    await mountImages({ directory, volumes, asOldKernel, ...mountedBy(options) });
  }

  imageVolumeOf(containerId: string, index: number): string {
    return imageVolumePath(this.#deps.paths.container(containerId), index);
  }

  async copyVolumes(
    containerId: string,
    paths: readonly string[],
    owner: VolumeOwner,
  ): Promise<void> {
    using _turn = await this.#locks.acquire(containerId);
    using _copy = await this.#copies.acquire();
    await copyVolumes(this.#deps.paths.container(containerId), paths, owner);
  }

  volumeOf(containerId: string, index: number): string {
    return volumePath(this.#deps.paths.container(containerId), index);
  }

  async remove(containerId: string, operation?: Pick<Operation, "enter">): Promise<void> {
    const { paths, trash } = this.#deps;
    const directory = paths.container(containerId);
    await operation?.enter("unmount-root");
    using _turn = await this.#locks.acquire(containerId);
    // Never delete files through a mount: if this fails, the directory stays.
    await unmountImages(directory, operation);
    await unmount(join(directory, "merged"), join(directory, "mapped"));
    await this.#deps.layers.release(containerId);
    await operation?.enter("delete-root");
    await trash.takeOrLeave(paths.roots, containerId);
    await this.#limits?.end(containerId);
    this.#usage.delete(containerId);
  }

  async usage(containerId: string): Promise<Usage> {
    const now = performance.now();
    const known = this.#usage.get(containerId);
    if (known !== undefined && now - known.at < USAGE_MS) return await known.value;
    const value = this.#walk(containerId);
    const mine = { at: now, value };
    this.#usage.set(containerId, mine);
    try {
      return await value;
    } catch (cause) {
      if (this.#usage.get(containerId) === mine) this.#usage.delete(containerId);
      throw wrap(`count files of container "${containerId}"`, cause);
    }
  }

  async separateUsage(): Promise<Usage | undefined> {
    if (!this.#isSeparate) return undefined;
    const { bsize, blocks, bfree, files, ffree } = await statfs(this.#deps.paths.roots);
    return { bytes: BigInt((blocks - bfree) * bsize), inodes: BigInt(files - ffree) };
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    const lines: string[] = [];
    const { paths, trash } = this.#deps;
    for (const name of await readdir(paths.roots)) {
      if (name.startsWith(GONE_PREFIX)) {
        trash.delete(join(paths.roots, name));
      } else if (!known.has(name)) {
        try {
          await this.remove(name);
          lines.push(`removed root of unknown container "${name}"`);
        } catch (cause) {
          // A failure must not stop the daemon.
          lines.push(`cannot remove root of unknown container "${name}": ${messageOf(cause)}`);
        }
      }
    }
    return lines;
  }

  /** Unmounts the private mount when there is no root. */
  async close(): Promise<void> {
    const { roots } = this.#deps.paths;
    if ((await readdir(roots)).length === 0) await unmount(roots);
    await this.#deps.layers.close();
  }

  /** Adds what to do to the error of a file system that overlayfs does not support. */
  #explain(cause: unknown): unknown {
    if (!/overlay: filesystem on .* not supported/.test(messageOf(cause))) return cause;
    const key = this.#isSeparate ? "writable_root" : "root";
    return new RuntimeError(
      "failed-precondition",
      `${messageOf(cause)}: set ${key} to a directory on ext4, xfs or btrfs ("davit doctor" examines "${this.directory}")`,
      { cause },
    );
  }

  async #walk(containerId: string): Promise<Usage> {
    const counted = await this.#limits?.usage(containerId);
    if (counted !== undefined) return counted;
    using _turn = await this.#walks.acquire();
    const directory = this.#deps.paths.container(containerId);
    return await diskUsage(join(directory, "upper"), join(directory, "volumes"));
  }

  /** Volumes are made in the directory later, and inherit the limit. */
  async #limit(containerId: string, directory: string, bytes = 0): Promise<void> {
    if (bytes === 0) return;
    const inside = ["upper", "work"].map((name) => join(directory, name));
    await this.#limits?.begin(containerId, bytes, [directory, ...inside]);
  }

  async #use(containerId: string, layers: readonly Digest[]): Promise<string | undefined> {
    try {
      return await this.#deps.layers.use(containerId, layers);
    } catch (cause) {
      await this.#deps.layers.release(containerId);
      throw wrap(`mount root of container "${containerId}"`, cause);
    }
  }

  async #discard(containerId: string, directory: string): Promise<void> {
    await this.#deps.layers.release(containerId);
    await removeTree(directory);
    await this.#limits?.end(containerId);
  }

  /** The lower directories for overlayfs, topmost first, relative to a root's directory. */
  #lowerOf(layers: readonly Digest[]): readonly [string, ...string[]] {
    const names = this.#deps.layers.lowerOf(layers).map((name) => `../../layers/${name}`);
    const [top = "../../layers/.empty", ...others] = names;
    return [top, ...others];
  }

  /** The directories of a root. The root's mode and owner are those of the upper directory. */
  #directories(
    directory: string,
    topmost: Digest | undefined,
    users: RootUsers = { namespace: "", uid: 0, gid: 0 },
    mounted?: string,
  ): readonly FileStep[] {
    const { uid, gid } = users;
    // Its processes find their root through this directory, which other users cannot enter.
    const owner = uid === 0 ? undefined : { uid, gid };
    const upper = join(directory, "upper");
    const below = ["work", "merged"].map((name) => join(directory, name));
    return [
      { step: "make-directory", path: directory, mode: 0o700, owner },
      ...(mounted === undefined ? [] : [markStep(directory, mounted)]),
      topmost === undefined
        ? { step: "make-directory", path: upper, mode: 0o755, owner: { uid, gid } }
        : {
            step: "make-directory-like",
            path: upper,
            model: join(this.#deps.paths.layer(topmost), "fs"),
            shift: { uid, gid },
          },
      ...below.map((path) => ({ step: "make-directory", path, mode: 0o755 }) as const),
    ];
  }
}

/** The code of limits is loaded only where they are on. */
async function openLimits(deps: OverlayRootsDeps): Promise<LayerLimits | undefined> {
  if (deps.firstProject === undefined) return undefined;
  const { LayerLimits: Limits } = await import("./layer-limits.ts");
  return await Limits.open(deps.paths.roots, deps.firstProject, deps.log);
}

function markStep(directory: string, mounted: string): FileStep {
  return { step: "write-file", path: join(directory, MOUNTED_LAYERS), text: mounted, mode: 0o600 };
}

function mountedBy({ users, label }: RootOptions): Pick<OverlayOptions, "mapped" | "label"> {
  return {
    ...(users === undefined ? {} : { mapped: { namespace: users.namespace, at: "mapped" } }),
    ...(label === undefined ? {} : { label }),
  };
}
