import type { Digest } from "../../base/digest.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Operation } from "../../core/operation/index.ts";
import type {
  ImageVolume,
  LayerOrigin,
  LayerSource,
  RootFs,
  RootOptions,
  Snapshots,
  Usage,
  VolumeOwner,
} from "../../core/snapshot/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import { CopyUps } from "./copy-ups.ts";
import { LayerStore } from "./layer-store.ts";
import { StateLayout } from "./places.ts";
import { Roots } from "./roots.ts";
import { Trash } from "./trash.ts";
import type { UnpackTurnsOptions } from "./unpack-turns.ts";
import { defaultUnpackerCommand, type UnpackerCommand } from "./unpacker.ts";

/** What the snapshots need. */
export interface OverlaySnapshotsDeps {
  /** Directory for layers and roots, on one file system that overlayfs takes as its upper one. */
  readonly root: string;
  /** Deletes in the background. To be closed before {@link OverlaySnapshots.close}. */
  readonly tasks: TaskGroup;
  readonly log: Logger;
  /** How to start the unpacker; this same program if not given. */
  readonly unpacker?: UnpackerCommand;
  /** How many unpackers there may be, where it is not as usual. */
  readonly turns?: Partial<UnpackTurnsOptions>;
  /** How long an unpacker may stand still, 300 s if not given. */
  readonly stallMs?: number;
  /** Mounts as on a kernel before 6.7, for tests. */
  readonly asOldKernel?: boolean;
}

/**
 * Layers as directories and roots as overlay mounts (volatile: nothing is synced when one goes). Pulls
 * cost one syncfs a layer, shared by layers that end together; mounting and removing a root cost
 * none. Needs Linux 5.12; from 6.7 on layers are given to the kernel one by one.
 */
export class OverlaySnapshots implements Snapshots {
  readonly directory: string;
  readonly #layers: LayerStore;
  readonly #copyUps: CopyUps;
  readonly #roots: Roots;

  private constructor(directory: string, layers: LayerStore, copyUps: CopyUps, roots: Roots) {
    this.directory = directory;
    this.#layers = layers;
    this.#copyUps = copyUps;
    this.#roots = roots;
  }

  /** Makes the directories and finds the layers that are there. Nothing is removed before `sweep`. */
  static async open(deps: OverlaySnapshotsDeps): Promise<OverlaySnapshots> {
    const places = new StateLayout(deps.root);
    const trash = new Trash(deps.tasks, deps.log);
    const layers = await LayerStore.open({
      places,
      trash,
      log: deps.log,
      unpacker: deps.unpacker ?? defaultUnpackerCommand(),
      turns: deps.turns ?? {},
      stallMs: deps.stallMs ?? 300_000,
    });
    const findLayer = layers.find.bind(layers);
    const copyUps = await CopyUps.open({ places, trash, log: deps.log, findLayer });
    const roots = await Roots.open({
      places,
      trash,
      findLayer,
      findCopyUp: copyUps.directoryOf.bind(copyUps),
      asOldKernel: deps.asOldKernel ?? false,
    });
    return new OverlaySnapshots(deps.root, layers, copyUps, roots);
  }

  hasLayer(diffId: Digest): boolean {
    return this.#layers.find(diffId) !== undefined;
  }

  hasLayerFrom(diffId: Digest, origin: LayerOrigin): boolean {
    return this.#layers.isFrom(diffId, origin);
  }

  attributeLayer(diffId: Digest, origin: LayerOrigin): void {
    this.#layers.attribute(diffId, origin);
  }

  async unpackLayer(
    layer: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<void> {
    await this.#layers.unpack(layer, signal, operation);
  }

  async completeLayers(layers: readonly Digest[], signal: AbortSignal): Promise<void> {
    await this.#copyUps.complete(layers, signal);
  }

  lacking(layers: readonly Digest[]): Digest | undefined {
    return layers.find((diffId) => !this.hasLayer(diffId)) ?? this.#copyUps.lacking(layers);
  }

  async removeLayer(diffId: Digest): Promise<void> {
    await this.#copyUps.removeWith(diffId);
    await this.#layers.remove(diffId);
  }

  layers(): readonly Digest[] {
    return this.#layers.list();
  }

  unclaimedLayers(): ReadonlyMap<Digest, bigint> {
    return this.#layers.unclaimed();
  }

  async claimLayers(layers: Iterable<Digest>): Promise<void> {
    for (const diffId of layers) await this.#layers.claim(diffId);
  }

  async mount(
    containerId: string,
    layers: readonly Digest[],
    operation?: Pick<Operation, "enter">,
    options?: RootOptions,
  ): Promise<RootFs> {
    return await this.#roots.mount(containerId, layers, operation, options);
  }

  rootOf(containerId: string): string {
    return this.#roots.directoryOf(containerId);
  }

  async mountImages(
    containerId: string,
    volumes: readonly ImageVolume[],
    options?: RootOptions,
  ): Promise<void> {
    await this.#roots.mountImages(containerId, volumes, options);
  }

  imageVolumeOf(containerId: string, index: number): string {
    return this.#roots.imageVolumeOf(containerId, index);
  }

  async copyVolumes(
    containerId: string,
    paths: readonly string[],
    owner: VolumeOwner,
  ): Promise<void> {
    await this.#roots.copyVolumes(containerId, paths, owner);
  }

  volumeOf(containerId: string, index: number): string {
    return this.#roots.volumeOf(containerId, index);
  }

  async remove(containerId: string, operation?: Pick<Operation, "enter">): Promise<void> {
    await this.#roots.remove(containerId, operation);
  }

  async usage(containerId: string): Promise<Usage> {
    return await this.#roots.usage(containerId);
  }

  layersUsage(of?: Iterable<Digest>): Usage {
    return this.#layers.usage(of);
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    const roots = await this.#roots.sweep(known);
    return [...roots, ...(await this.#copyUps.sweep()), ...(await this.#layers.sweep())];
  }

  /** Takes the mount under all roots away when there is none, as at the end of a daemon without pods. */
  async close(): Promise<void> {
    await this.#roots.close();
  }
}
