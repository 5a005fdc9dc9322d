import type { OwnProgram } from "../../../linux/process/index.ts";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Digest, hexOf } from "../../../base/digest.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import type { LayerSource } from "../../../core/snapshot/index.ts";
import { unmount } from "../../../linux/mount/index.ts";
import { nodeProgram } from "../../../linux/testing/node.ts";
import { type BuiltEntry, buildTar } from "../../../unpack/testing/tar-builder.ts";
import type { OverlayChanges } from "../changes.ts";
import type { OverlayChecker } from "../checker.ts";
import { openOverlay, type Overlay, type OverlayDeps } from "../open.ts";
import type { OverlayLayers } from "../overlay-layers.ts";
import type { OverlayRoots } from "../overlay-roots.ts";
import type { OverlayPacker } from "../packer.ts";

/** The unpacker without the command line around it. */
const bareUnpacker: OwnProgram = {
  file: nodeProgram,
  args: [
    "--disable-warning=ExperimentalWarning",
    fileURLToPath(new URL("../../../unpack/program.ts", import.meta.url)),
  ],
};

export function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A blob of an archive with a correct descriptor, in chunks of 64 KiB. */
export function sourceOf(tar: Buffer, blob = tar): LayerSource {
  return {
    blob: { mediaType: "any", digest: digestOf(blob), sizeBytes: BigInt(blob.length) },
    diffId: digestOf(tar),
    registry: "registry.test",
    limits: {},
    chunks: piecesOf(blob),
  };
}

async function* piecesOf(blob: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < blob.length; at += 65_536) yield blob.subarray(at, at + 65_536);
}

/** Everything that GNU tar records of a tree, as bytes. */
export function describeTree(path: string): Buffer {
  const options = ["--format=pax", "--sort=name", "--numeric-owner", "--xattrs", "--acls"];
  const names = ["--xattrs-include=*", "--pax-option=delete=atime,delete=ctime,exthdr.name=x"];
  return execFileSync("tar", [...options, ...names, "-C", path, "-c", "."], { maxBuffer: 2 ** 28 });
}

/** Layers and roots in a directory; `dispose` waits for their deletions. */
export class TestOverlay implements AsyncDisposable {
  readonly layers: OverlayLayers;
  readonly roots: OverlayRoots;
  readonly packer: OverlayPacker;
  readonly checker: OverlayChecker;
  readonly changes: OverlayChanges;
  readonly root: string;
  readonly #tasks: TaskGroup;

  private constructor(root: string, overlay: Overlay, tasks: TaskGroup) {
    const { layers, roots, packer, checker, changes } = overlay;
    this.layers = layers;
    this.changes = changes;
    this.roots = roots;
    this.packer = packer;
    this.checker = checker;
    this.root = root;
    this.#tasks = tasks;
  }

  static async open(root: string, options: Partial<OverlayDeps> = {}): Promise<TestOverlay> {
    const tasks = new TaskGroup(silentLogger);
    const deps = {
      root,
      tasks,
      log: silentLogger,
      unpacker: bareUnpacker,
      unpackerIdleMs: 0,
      ...options,
    };
    return new TestOverlay(root, await openOverlay(deps), tasks);
  }

  /** Unpacks an archive of these entries and returns its diff id. */
  async layer(...entries: readonly BuiltEntry[]): Promise<Digest> {
    const source = sourceOf(buildTar(entries));
    await this.layers.unpack(source, new AbortController().signal);
    return source.diffId;
  }

  /** The directory with the files of a layer, mounted until the end of the overlay if the layer is an image. */
  async filesOf(diffId: Digest): Promise<string> {
    await this.layers.use("test", [diffId]);
    return `${this.root}/layers/${hexOf(diffId)}/fs`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.layers.release("test");
    await this.#tasks[Symbol.asyncDispose]();
    await unmount(`${this.root}/roots`);
    await this.layers.close();
    await this.layers.close();
  }
}

/** Why layers cannot be EROFS images in temporary directories of this machine; `false` if they can, as for `skip`. */
export async function erofsObstacle(directory = tmpdir()): Promise<string | false> {
  const root = mkdtempSync(join(directory, "davit-erofs-obstacle-"));
  const lines: string[] = [];
  const log = { ...silentLogger, warn: (line: string) => void lines.push(line) };
  try {
    await using overlay = await TestOverlay.open(root, { format: "erofs", log });
    return overlay.layers.format === "erofs" ? false : lines.join("; ");
  } finally {
    rmSync(root, { recursive: true });
  }
}
