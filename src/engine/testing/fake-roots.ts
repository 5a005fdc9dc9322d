import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Operation } from "../../core/operation/index.ts";
import type {
  ImageVolume,
  Layers,
  RootFs,
  RootOptions,
  Roots,
  Usage,
} from "../../core/snapshot/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import type { FakeHost } from "./fake-host.ts";
import { Trouble } from "./trouble.ts";

/** Roots of containers in memory, on layers that must exist. */
export class FakeRoots implements Roots {
  readonly directory = "/roots";
  readonly trouble = new Trouble<"mount" | "mountImages" | "copyVolumes" | "remove" | "sweep">();
  /** What roots were mounted with, by container. */
  readonly mounted = new Map<
    string,
    { readonly layers: readonly Digest[]; readonly options: RootOptions }
  >();
  readonly images = new Map<string, readonly ImageVolume[]>();
  readonly copied = new Map<string, readonly string[]>();
  readonly #host: FakeHost;
  readonly #layers: Pick<Layers, "has">;

  constructor(host: FakeHost, layers: Pick<Layers, "has">) {
    this.#host = host;
    this.#layers = layers;
  }

  async mount(
    containerId: string,
    layers: readonly Digest[],
    operation?: Pick<Operation, "enter">,
    options: RootOptions = {},
  ): Promise<RootFs> {
    await operation?.enter("make-root-directory");
    this.#checkLayers(layers);
    this.#host.make("root", containerId);
    await operation?.enter("mount-root");
    await this.trouble.at("mount");
    this.mounted.set(containerId, { layers, options });
    return { path: this.pathOf(containerId) };
  }

  pathOf(containerId: string): string {
    return `/roots/${containerId}/merged`;
  }

  async mountImages(containerId: string, volumes: readonly ImageVolume[]): Promise<void> {
    await this.trouble.at("mountImages");
    for (const { layers } of volumes) this.#checkLayers(layers);
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
    this.mounted.delete(containerId);
    this.images.delete(containerId);
    this.copied.delete(containerId);
  }

  async usage(): Promise<Usage> {
    return { bytes: 0n, inodes: 0n };
  }

  async separateUsage(): Promise<Usage | undefined> {
    return undefined;
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    await this.trouble.at("sweep");
    const ids = this.#host.idsOf("root").filter((id) => !known.has(id));
    for (const id of ids) await this.remove(id);
    return ids.map((id) => `root ${id}`);
  }

  #checkLayers(layers: readonly Digest[]): void {
    const missing = layers.find((diffId) => !this.#layers.has(diffId));
    if (missing === undefined) return;
    throw new RuntimeError("not-found", `find layer "${missing}": it is not here`);
  }
}
