import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, open, rename } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import {
  checkpointFiles,
  type CheckpointTrust,
  podCheckpointFiles,
  type Snapshot,
  type SnapshotContainer,
  type SnapshotDraft,
  type Snapshots,
} from "../../core/checkpoint/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { removeTree, syncFileSystem } from "../../linux/file/index.ts";
import type { OwnProgram } from "../../linux/process/index.ts";
import { decodeMessage } from "../../wire/protobuf.ts";
import { entriesOf } from "./archive.ts";
import { extractSnapshot } from "./extract.ts";
import { namesIn, OpenDirectory, writeError } from "./files.ts";
import { CheckpointLayout } from "./layout.ts";
import { maxManifestBytes, parseManifest, parsePodManifest } from "./manifest.ts";
import { makePod } from "./lone-container.ts";
import { checkPod } from "./open-checkpoint.ts";
import { streamArchiveProgram } from "./programs.ts";
import { NodeSeal } from "./seal.ts";

/** What snapshots need. */
export interface SnapshotStoreDeps {
  /** The root of the configuration. */
  readonly root: string;
  /** The largest snapshot that is imported. Bytes. */
  readonly maxBytes: number;
  readonly log: Logger;
  /** How to start the program that reads and writes archives; this same program if not given. */
  readonly program?: OwnProgram | undefined;
}

/** A snapshot has its id for a name. Names with a dot are of those that are not complete, or no longer. */
const snapshotName = /^[0-9a-f]{64}$/;

/** Snapshots in `<root>/checkpoints/snapshots`. What is known of one is in its manifests. */
export class SnapshotStore implements Snapshots {
  readonly imageDigests = new Set<string>();
  readonly #deps: SnapshotStoreDeps;
  readonly #paths: CheckpointLayout;
  readonly #seal: NodeSeal;
  /** Those that were read: a snapshot never changes. */
  readonly #read = new Map<string, Snapshot>();
  /** Directories that this daemon makes or removes. */
  readonly #mine = new Set<string>();

  constructor(deps: SnapshotStoreDeps) {
    this.#deps = deps;
    this.#paths = new CheckpointLayout(join(deps.root, "checkpoints"));
    this.#seal = new NodeSeal(this.#paths.key);
  }

  async list(): Promise<readonly Snapshot[]> {
    const names = (await namesIn(this.#paths.snapshots)).filter((name) => snapshotName.test(name));
    const found: Snapshot[] = [];
    for (const id of names) {
      try {
        found.push(await this.#load(id));
      } catch (error) {
        // It may have been removed meanwhile.
        if (errnoCode(error) !== "ENOENT") {
          this.#deps.log.warn("cannot read a snapshot", { snapshot: id, error: messageOf(error) });
        }
      }
    }
    const there = new Set(names);
    for (const id of this.#read.keys()) if (!there.has(id)) this.#read.delete(id);
    this.#collectDigests();
    return found.toSorted((a, b) => (a.takenAtNs > b.takenAtNs ? -1 : 1));
  }

  async begin(): Promise<SnapshotDraft> {
    const directory = join(this.#paths.snapshots, `.new-${randomUUID()}`);
    try {
      await mkdir(this.#paths.snapshots, { recursive: true, mode: 0o700 });
      this.#mine.add(directory);
      await mkdir(directory, { mode: 0o700 });
    } catch (cause) {
      throw systemError(`begin a snapshot in "${this.#paths.snapshots}"`, cause);
    }
    return {
      directory,
      publish: () => this.#publish(directory),
      [Symbol.asyncDispose]: async () => {
        await removeTree(directory);
        this.#mine.delete(directory);
      },
    };
  }

  async remove(id: string): Promise<void> {
    if (!snapshotName.test(id)) return;
    const going = join(this.#paths.snapshots, `.old-${randomUUID()}`);
    this.#mine.add(going);
    try {
      await rename(join(this.#paths.snapshots, id), going);
    } catch (cause) {
      this.#mine.delete(going);
      if (errnoCode(cause) !== "ENOENT") throw systemError(`remove snapshot "${id}"`, cause);
      return;
    }
    this.#read.delete(id);
    this.#collectDigests();
    await removeTree(going);
    this.#mine.delete(going);
  }

  async *export(id: string, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const directory = join(this.#paths.snapshots, id);
    try {
      yield* streamArchiveProgram({
        program: this.#deps.program,
        args: ["files"],
        limits: { confinement: "packer", root: directory },
        input: JSON.stringify({ entries: await entriesOf(directory) }),
        signal,
      });
    } catch (cause) {
      signal.throwIfAborted();
      throw wrap(`export snapshot "${id}"`, cause);
    }
  }

  async import(
    chunks: AsyncIterable<Uint8Array>,
    trust: CheckpointTrust,
    operation: Operation,
  ): Promise<Snapshot> {
    const { program, maxBytes } = this.#deps;
    const { signal } = operation;
    await using draft = await this.begin();
    const { directory } = draft;
    try {
      await operation.enter("unpack-archive");
      const from = { program, chunks, directory, maxBytes, signal };
      const { names, isPod } = await extractSnapshot(from);
      await operation.enter("check-files");
      const check = isPod ? checkPod : makePod;
      await check({ seal: this.#seal }, directory, { names, trust, signal });
      {
        await using names = await open(directory);
        await syncFileSystem(names.fd, directory);
      }
      await operation.enter("publish");
      return await draft.publish();
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof RuntimeError) throw wrap("import a snapshot", cause);
      throw await writeError("import a snapshot", this.#paths.snapshots, cause);
    }
  }

  async sweep(): Promise<readonly string[]> {
    const lines: string[] = [];
    for (const name of await namesIn(this.#paths.snapshots)) {
      const path = join(this.#paths.snapshots, name);
      if (!name.startsWith(".") || this.#mine.has(path)) continue;
      try {
        await removeTree(path);
        lines.push(`removed unfinished snapshot "${path}"`);
      } catch (cause) {
        // A failure must not stop the daemon.
        lines.push(`cannot remove unfinished snapshot "${path}": ${messageOf(cause)}`);
      }
    }
    await this.list();
    return lines;
  }

  async #publish(directory: string): Promise<Snapshot> {
    const id = randomBytes(32).toString("hex");
    try {
      await rename(directory, join(this.#paths.snapshots, id));
      await using names = await open(this.#paths.snapshots);
      await names.sync();
    } catch (cause) {
      throw systemError(`keep snapshot "${id}"`, cause);
    }
    const snapshot = await this.#load(id);
    this.#collectDigests();
    return snapshot;
  }

  async #load(id: string): Promise<Snapshot> {
    const known = this.#read.get(id);
    if (known !== undefined) return known;
    const snapshot = await readSnapshot(id, join(this.#paths.snapshots, id));
    this.#read.set(id, snapshot);
    return snapshot;
  }

  #collectDigests(): void {
    this.imageDigests.clear();
    for (const { containers } of this.#read.values()) {
      for (const digest of containers.flatMap((each) => each.imageDigests)) {
        this.imageDigests.add(digest);
      }
    }
  }
}

/** What the manifests of a snapshot say. Their codes were checked when it was kept, and are again by a restore. */
async function readSnapshot(id: string, directory: string): Promise<Snapshot> {
  await using top = await OpenDirectory.open(directory);
  const text = await manifestIn(top, podCheckpointFiles.manifest);
  const content = parsePodManifest(text);
  await using all = await top.directory(podCheckpointFiles.containers);
  const containers: SnapshotContainer[] = [];
  let sizeBytes = BigInt(Buffer.byteLength(text));
  for (const name of content.containers.keys()) {
    await using each = await all.directory(name);
    const own = await manifestIn(each, checkpointFiles.manifest);
    const { facts, files } = parseManifest(own);
    sizeBytes += BigInt(Buffer.byteLength(own));
    for (const { size } of files.values()) sizeBytes += BigInt(size);
    const { imageDigests } = facts;
    const config = decodeMessage(ContainerConfigSchema, facts.config ?? new Uint8Array());
    const image = config.image?.userSpecifiedImage || facts.imageName;
    containers.push({ name, image, imageDigests, config });
  }
  const { podName, podNamespace, runtimeHandler, capturedAtNs: takenAtNs } = content;
  const config = decodeMessage(PodSandboxConfigSchema, content.config);
  const facts = { podName, podNamespace, runtimeHandler, takenAtNs, config, containers };
  return { ...facts, id, sizeBytes, directory };
}

async function manifestIn(directory: OpenDirectory, name: string): Promise<string> {
  const text = await directory.text(name, maxManifestBytes);
  if (text !== undefined) return text;
  throw new RuntimeError("data-loss", `read a snapshot: it has no "${name}"; remove it`);
}
