import { createHash } from "node:crypto";
import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Clock } from "../../base/time.ts";
import type { Operation } from "../../core/operation/index.ts";
import {
  type ImageVolume,
  type LayerOrigin,
  type LayerSource,
  type RootFs,
  type RootOptions,
  type Snapshots,
  TooLarge,
  type Usage,
} from "../../core/snapshot/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import type { FakeHost } from "./fake-host.ts";
import { Trouble } from "./trouble.ts";

type Call =
  | "unpackLayer"
  | "completeLayers"
  | "removeLayer"
  | "mount"
  | "mountImages"
  | "copyVolumes"
  | "remove"
  | "sweep";

interface Layer {
  readonly origins: Set<string>;
  readonly bytes: number;
  readonly unpackedAtNs: bigint;
  isClaimed: boolean;
  isComplete: boolean;
}

/** The digest of some text. */
export function digestOf(text: string | Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** The blob of a layer with these contents: the fake's compression puts a "z" before them. */
export function compressed(contents: string): Buffer {
  return Buffer.from(`z${contents}`);
}

/** Layers and roots in memory. Digests are compared as a real one would. */
export class FakeSnapshots implements Snapshots {
  readonly directory = "/layers";
  readonly trouble = new Trouble<Call>();
  /** What roots were mounted with, by container. */
  readonly roots = new Map<
    string,
    { readonly layers: readonly Digest[]; readonly options: RootOptions }
  >();
  readonly images = new Map<string, readonly ImageVolume[]>();
  readonly copied = new Map<string, readonly string[]>();
  /** How often a layer was unpacked. */
  readonly unpacked = new Map<Digest, number>();
  readonly #host: FakeHost;
  readonly #clock: Clock;
  readonly #layers = new Map<Digest, Layer>();

  constructor(host: FakeHost, clock: Clock) {
    this.#host = host;
    this.#clock = clock;
  }

  hasLayer(diffId: Digest): boolean {
    return this.#layers.has(diffId);
  }

  hasLayerFrom(diffId: Digest, origin: LayerOrigin): boolean {
    return this.#layers.get(diffId)?.origins.has(keyOf(origin)) ?? false;
  }

  attributeLayer(diffId: Digest, origin: LayerOrigin): void {
    const layer = this.#layers.get(diffId);
    if (layer?.origins.size === 0) layer.origins.add(keyOf(origin));
  }

  /** Adds a layer that was unpacked by a daemon that did not record its origin. */
  forgetOrigin(diffId: Digest): void {
    this.#layers.get(diffId)?.origins.clear();
  }

  async unpackLayer(
    source: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<void> {
    const { blob, diffId, registry, limits } = source;
    await operation?.enter("make-directory");
    await operation?.enter("unpack");
    const chunks: Uint8Array[] = [];
    for await (const chunk of source.chunks) {
      signal.throwIfAborted();
      chunks.push(chunk);
    }
    await this.trouble.at("unpackLayer", signal);
    const bytes = Buffer.concat(chunks);
    const contents = bytes.subarray(1);
    if (digestOf(bytes) !== blob.digest || digestOf(contents) !== diffId) {
      throw new RuntimeError("data-loss", `unpack layer "${diffId}": its digest is another one`);
    }
    const most = limits.bytes?.most ?? Infinity;
    if (contents.length > most) throw new TooLarge(`it has more than ${limits.bytes?.why}`);
    await operation?.enter("publish");
    this.unpacked.set(diffId, (this.unpacked.get(diffId) ?? 0) + 1);
    const layer = this.#layers.get(diffId) ?? {
      origins: new Set(),
      bytes: contents.length,
      unpackedAtNs: this.#clock.nowNs(),
      isClaimed: false,
      isComplete: false,
    };
    layer.origins.add(keyOf({ registry, digest: blob.digest, sizeBytes: blob.sizeBytes }));
    this.#layers.set(diffId, layer);
  }

  async completeLayers(layers: readonly Digest[], signal: AbortSignal): Promise<void> {
    await this.trouble.at("completeLayers", signal);
    for (const diffId of layers) this.#get(diffId).isComplete = true;
  }

  lacking(layers: readonly Digest[]): Digest | undefined {
    return layers.find((diffId) => this.#layers.get(diffId)?.isComplete !== true);
  }

  async removeLayer(diffId: Digest): Promise<void> {
    await this.trouble.at("removeLayer");
    this.#layers.delete(diffId);
  }

  layers(): readonly Digest[] {
    return [...this.#layers.keys()];
  }

  unclaimedLayers(): ReadonlyMap<Digest, bigint> {
    const unclaimed = [...this.#layers].filter(([, { isClaimed }]) => !isClaimed);
    return new Map(unclaimed.map(([diffId, { unpackedAtNs }]) => [diffId, unpackedAtNs]));
  }

  async claimLayers(layers: Iterable<Digest>): Promise<void> {
    for (const diffId of layers) this.#get(diffId).isClaimed = true;
  }

  async mount(
    containerId: string,
    layers: readonly Digest[],
    operation?: Pick<Operation, "enter">,
    options: RootOptions = {},
  ): Promise<RootFs> {
    await operation?.enter("make-root-directory");
    for (const diffId of layers) this.#get(diffId);
    this.#host.make("root", containerId);
    await operation?.enter("mount-root");
    await this.trouble.at("mount");
    this.roots.set(containerId, { layers, options });
    return { path: this.rootOf(containerId) };
  }

  rootOf(containerId: string): string {
    return `/roots/${containerId}/merged`;
  }

  async mountImages(containerId: string, volumes: readonly ImageVolume[]): Promise<void> {
    await this.trouble.at("mountImages");
    for (const { layers } of volumes) for (const diffId of layers) this.#get(diffId);
    this.images.set(containerId, volumes);
  }

  imageVolumeOf(containerId: string, index: number): string {
    return `/roots/${containerId}/images/${index}`;
  }

  async copyVolumes(containerId: string, paths: readonly string[]): Promise<void> {
    this.#host.make("volumes", containerId);
    await this.trouble.at("copyVolumes");
    this.copied.set(containerId, paths);
  }

  volumeOf(containerId: string, index: number): string {
    return `/roots/${containerId}/volumes/${index}`;
  }

  async remove(containerId: string, operation?: Pick<Operation, "enter">): Promise<void> {
    await operation?.enter("unmount-root");
    await this.trouble.at("remove");
    await operation?.enter("delete-root");
    this.#host.remove("volumes", containerId);
    this.#host.remove("root", containerId);
    this.roots.delete(containerId);
    this.images.delete(containerId);
    this.copied.delete(containerId);
  }

  async usage(): Promise<Usage> {
    return { bytes: 0n, inodes: 0n };
  }

  layersUsage(of: Iterable<Digest> = this.#layers.keys()): Usage {
    let bytes = 0n;
    for (const diffId of new Set(of)) bytes += BigInt(this.#layers.get(diffId)?.bytes ?? 0);
    return { bytes, inodes: 0n };
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    await this.trouble.at("sweep");
    const ids = this.#host.idsOf("root").filter((id) => !known.has(id));
    for (const id of ids) await this.remove(id);
    return ids.map((id) => `root ${id}`);
  }

  #get(diffId: Digest): Layer {
    const layer = this.#layers.get(diffId);
    if (layer !== undefined) return layer;
    throw new RuntimeError("not-found", `find layer "${diffId}": it is not here`);
  }
}

function keyOf({ registry, digest, sizeBytes }: LayerOrigin): string {
  return `${registry} ${digest} ${sizeBytes}`;
}
