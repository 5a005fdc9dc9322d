import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Digest } from "../../src/base/digest.ts";
import type { CapturedContainer } from "../../src/core/checkpoint/index.ts";
import type { OciSpec } from "../../src/core/oci/index.ts";
import { testOperation } from "../../src/core/operation/testing/operation.ts";
import { TestOverlay } from "../../src/drivers/overlay/testing/layers.ts";
import { bareContainer, fullSandbox } from "../../src/drivers/records/testing/sample.ts";
import { CheckpointStore } from "../../src/drivers/checkpoint/index.ts";

/** A spec of a container without limits. */
const spec: OciSpec = {
  ociVersion: "1.1.0",
  root: { path: "/rootfs" },
  process: {
    terminal: true,
    user: { uid: 0, gid: 0 },
    args: ["sh"],
    env: [],
    cwd: "/",
    capabilities: { bounding: [], effective: [], permitted: [] },
  },
  mounts: [],
  annotations: { "io.kubernetes.cri.container-name": "c" },
  linux: { namespaces: [] } as unknown as OciSpec["linux"],
};

/** Checkpoints on a real overlay, below a directory of their own. What CRIU writes is made up. */
export class TestCheckpoints implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "davit-checkpoints-"));
  readonly root = join(this.directory, "root");
  readonly operation = testOperation();
  readonly overlay: TestOverlay;
  readonly store: CheckpointStore;
  readonly #mounted: string[] = [];

  private constructor(overlay: (root: string) => TestOverlay, maxBytes: number) {
    this.overlay = overlay(this.root);
    this.store = this.open(maxBytes);
  }

  static async open(maxBytes = 2 ** 30): Promise<TestCheckpoints> {
    const directory = mkdtempSync(join(tmpdir(), "davit-checkpoints-overlay-"));
    const overlay = await TestOverlay.open(directory);
    return new TestCheckpoints(() => overlay, maxBytes);
  }

  /** A store of these files, as of the next daemon or, with another root, of another node. */
  open(maxBytes = 2 ** 30, root = this.root): CheckpointStore {
    const { layers, changes } = this.overlay;
    return new CheckpointStore({ root, maxBytes, layers, changes });
  }

  /** The path of a new file. */
  path(name: string): string {
    return join(this.directory, name);
  }

  /** A root of these layers, with what `change` does in it. */
  async mount(
    id: string,
    layers: readonly Digest[],
    change: (root: string) => void = () => undefined,
  ): Promise<string> {
    await this.overlay.layers.complete(layers, new AbortController().signal);
    const { path } = await this.overlay.roots.mount(id, layers);
    this.#mounted.push(id);
    change(path);
    return path;
  }

  /** A container that was captured, by its id and the layers of its image. */
  captured(id: string, layers: readonly Digest[] = [], logPath?: string): CapturedContainer {
    const bare = bareContainer(id);
    const container = {
      ...bare,
      image: { ...bare.image, requested: "busybox", layers },
      hasLog: logPath !== undefined,
      logPath: logPath ?? bare.logPath,
    };
    return { container, sandbox: fullSandbox("p"), spec, runtimePath: "/usr/bin/crun" };
  }

  /** A directory with what CRIU writes. */
  async capture(parent?: string, memory = Buffer.from("pages")): Promise<string> {
    const directory = await this.store.begin("c", parent);
    const images = join(directory, "checkpoint");
    for (const name of ["inventory.img", "core-1.img", "descriptors.json"]) {
      writeFileSync(join(images, name), name, { mode: 0o644 });
    }
    writeFileSync(join(images, "pages-1.img"), memory);
    writeFileSync(join(directory, "dump.log"), "dumped\n");
    writeFileSync(join(images, "stats-dump"), "stats");
    writeFileSync(join(directory, "criu.conf"), "tcp-close\n");
    return directory;
  }

  /** A complete directory of a container that changed `change` in its root. */
  async completed(
    id: string,
    layers: readonly Digest[] = [],
    change?: (root: string) => void,
  ): Promise<string> {
    await this.mount(id, layers, change);
    const directory = await this.capture();
    await this.store.complete(directory, this.captured(id, layers), this.operation);
    return directory;
  }

  /** A complete checkpoint of a pod with these containers, in a directory of root's. */
  async completedPod(
    name: string,
    containers: readonly string[],
    memory: Buffer | string = "pages",
  ): Promise<string> {
    const directory = this.path(name);
    mkdirSync(directory, { mode: 0o700 });
    for (const each of containers) {
      const at = await this.store.begin(each, join(directory, "containers"));
      writeFileSync(join(at, "checkpoint", "inventory.img"), each);
      writeFileSync(join(at, "checkpoint", "pages-1.img"), memory);
      const bare = this.captured(`${name}-${each}`);
      const metadata = { ...bare.container.config.metadata, name: each };
      const config = { ...bare.container.config, metadata } as typeof bare.container.config;
      await this.mount(`${name}-${each}`, []);
      const container = { ...bare.container, config };
      await this.store.complete(at, { ...bare, container }, this.operation);
    }
    await this.store.completePod(directory, fullSandbox("p"), containers, this.operation);
    return directory;
  }

  /** The fields of a JSON file. */
  static json(path: string): Record<string, unknown> {
    return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of this.#mounted) await this.overlay.roots.remove(id);
    await this.overlay[Symbol.asyncDispose]();
    rmSync(this.overlay.root, { recursive: true });
    rmSync(this.directory, { recursive: true });
  }
}
