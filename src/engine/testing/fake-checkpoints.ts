import { RuntimeError } from "../../base/errors.ts";
import type { Digest } from "../../base/digest.ts";
import type {
  CapturedContainer,
  CheckpointFacts,
  CheckpointOutputs,
  Checkpoints,
  OpenedCheckpoint,
  OpenedPodCheckpoint,
  OpenOptions,
} from "../../core/checkpoint/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import { Trouble } from "./trouble.ts";

type Call =
  | "begin"
  | "complete"
  | "completePod"
  | "archive"
  | "discard"
  | "openArchive"
  | "openPod"
  | "sweep"
  | "clear";

/** Facts of a checkpoint of this node, of the container "app" by the fake runtime. */
export function checkpointFacts(facts: Partial<CheckpointFacts> = {}): CheckpointFacts {
  return {
    name: "app",
    containerId: "c",
    podName: "web",
    podNamespace: "default",
    imageName: "app",
    imageDigests: [],
    runtime: "crun",
    terminal: false,
    hostname: "web",
    capturedAtNs: 1n,
    config: new Uint8Array(),
    podConfig: new Uint8Array(),
    runtimeHandler: "",
    ...facts,
  };
}

/** Files of checkpoints in memory: paths of directories and of files. */
export class FakeCheckpoints implements Checkpoints, CheckpointOutputs {
  readonly trouble = new Trouble<Call>();
  /** The directories that exist. Those of clients are added by tests. */
  readonly directories = new Set<string>();
  readonly files = new Set<string>();
  /** The containers whose files were captured, by directory. */
  readonly completed = new Map<string, CapturedContainer>();
  /** Called when the files of a container are captured. */
  onComplete: (captured: CapturedContainer) => void = () => undefined;
  /** What archives and directories of clients contain. */
  readonly archives = new Map<string, CheckpointFacts>();
  readonly pods = new Map<string, readonly CheckpointFacts[]>();
  /** The layer of the changes of each opened checkpoint. */
  changes: Digest | undefined;

  async begin(name: string, parent = "/own"): Promise<string> {
    await this.trouble.at("begin");
    const directory = `${parent}/${name}`;
    this.directories.add(directory);
    return directory;
  }

  async complete(directory: string, captured: CapturedContainer, at: Operation): Promise<void> {
    await this.trouble.at("complete", at.signal);
    this.onComplete(captured);
    this.completed.set(directory, captured);
  }

  async completePod(
    directory: string,
    _sandbox: unknown,
    _containers: readonly string[],
    operation: Operation,
  ): Promise<void> {
    await this.trouble.at("completePod", operation.signal);
    this.files.add(`${directory}/pod.json`);
  }

  async archive(_directory: string, location: string, signal: AbortSignal): Promise<void> {
    await this.trouble.at("archive", signal);
    this.files.add(location);
  }

  async discard(directory: string): Promise<void> {
    await this.trouble.at("discard");
    this.directories.delete(directory);
  }

  async openArchive(
    location: string,
    { containerId, hold }: OpenOptions & { readonly containerId: string },
    { signal }: Operation,
  ): Promise<OpenedCheckpoint> {
    if (this.changes !== undefined) hold(this.changes);
    await this.trouble.at("openArchive", signal);
    const facts = this.archives.get(location);
    if (facts === undefined) throw new RuntimeError("invalid-argument", "open: no checkpoint");
    return this.#opened(facts, `/restores/${containerId}`);
  }

  async openStream(
    { name, chunks }: Parameters<Checkpoints["openStream"]>[0],
    restore: OpenOptions & { readonly containerId: string },
    operation: Operation,
  ): Promise<OpenedCheckpoint> {
    for await (const chunk of chunks) if (chunk.length === 0) throw new TypeError("empty");
    return await this.openArchive(name, restore, operation);
  }

  async openPod(
    directory: string,
    { restoreId, hold }: OpenOptions & { readonly restoreId: string },
    { signal }: Operation,
  ): Promise<OpenedPodCheckpoint> {
    if (this.changes !== undefined) hold(this.changes);
    await this.trouble.at("openPod", signal);
    const all = this.pods.get(directory);
    if (all === undefined) throw new RuntimeError("invalid-argument", "open: no checkpoint");
    const containers = all.map((facts) =>
      this.#opened(facts, `/restores/${restoreId}/${facts.name}`),
    );
    return { config: undefined, containers };
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    await this.trouble.at("sweep");
    const left = [...this.directories].filter((path) => {
      const [, kind, id = ""] = path.split("/");
      return kind === "own" || (kind === "restores" && !known.has(id));
    });
    for (const path of left) this.directories.delete(path);
    return left;
  }

  async checkNewFile(path: string): Promise<void> {
    if (!this.directories.has(path.slice(0, path.lastIndexOf("/")))) {
      throw new RuntimeError("invalid-argument", `check "${path}": its directory does not exist`);
    }
    if (this.files.has(path))
      throw new RuntimeError("already-exists", `check "${path}": it exists`);
  }

  async checkEmptyDirectory(path: string): Promise<void> {
    const isEmpty = this.below(path).length === 0;
    if (this.directories.has(path) && isEmpty) return;
    throw new RuntimeError("invalid-argument", `check "${path}": it is not an empty directory`);
  }

  async claimEmptyDirectory(path: string): Promise<void> {
    await this.checkEmptyDirectory(path);
    this.directories.add(`${path}/containers`);
  }

  async removeFile(path: string): Promise<void> {
    this.files.delete(path);
  }

  async clear(path: string): Promise<void> {
    await this.trouble.at("clear");
    for (const each of this.below(path)) {
      this.directories.delete(each);
      this.files.delete(each);
    }
  }

  /** What is in a directory. */
  below(path: string): readonly string[] {
    return [...this.directories, ...this.files].filter((each) => each.startsWith(`${path}/`));
  }

  #opened(facts: CheckpointFacts, directory: string): OpenedCheckpoint {
    this.directories.add(directory);
    return { facts, directory, changes: this.changes, owned: true };
  }
}
