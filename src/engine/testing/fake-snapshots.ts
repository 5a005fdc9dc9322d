import type {
  CheckpointTrust,
  Snapshot,
  SnapshotDraft,
  Snapshots,
} from "../../core/checkpoint/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { PodCapture } from "../snapshot/index.ts";
import { Trouble } from "./trouble.ts";

/** Keeps snapshots in memory. What a test captures into a draft is what is published. */
export class FakeSnapshots implements Snapshots {
  readonly trouble = new Trouble<"publish" | "import">();
  readonly imageDigests = new Set<string>();
  readonly all: Snapshot[] = [];
  /** The directories of drafts that are neither published nor removed. */
  readonly drafts = new Set<string>();
  readonly trusts: CheckpointTrust[] = [];
  #captured: PodCapture | undefined;
  #count = 0;

  /** Notes what is captured into the current draft. */
  readonly capture = (request: PodCapture): Promise<void> => {
    this.#captured = request;
    return Promise.resolve();
  };

  list(): Promise<readonly Snapshot[]> {
    return Promise.resolve(this.all);
  }

  begin(): Promise<SnapshotDraft> {
    const directory = `/snapshots/.new-${this.#count}`;
    this.drafts.add(directory);
    return Promise.resolve({
      directory,
      publish: async () => {
        await this.trouble.at("publish");
        this.drafts.delete(directory);
        return this.#add(this.#captured?.sandboxId ?? "");
      },
      [Symbol.asyncDispose]: () => {
        this.drafts.delete(directory);
        return Promise.resolve();
      },
    });
  }

  remove(id: string): Promise<void> {
    const at = this.all.findIndex((each) => each.id === id);
    if (at >= 0) this.all.splice(at, 1);
    return Promise.resolve();
  }

  async *export(id: string): AsyncGenerator<Uint8Array> {
    yield Buffer.from(await Promise.resolve(id));
  }

  async import(
    chunks: AsyncIterable<Uint8Array>,
    trust: CheckpointTrust,
    operation: Operation,
  ): Promise<Snapshot> {
    await operation.enter("unpack-archive");
    await this.trouble.at("import", operation.signal);
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    this.trusts.push(trust);
    return this.#add(Buffer.concat(parts).toString());
  }

  sweep(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  #add(podName: string): Snapshot {
    const id = `${String(this.#count).padStart(2, "0")}aa`;
    this.#count++;
    const snapshot: Snapshot = {
      id,
      podName,
      podNamespace: "default",
      runtimeHandler: "",
      takenAtNs: BigInt(this.#count),
      config: { metadata: { name: podName } } as Snapshot["config"],
      containers: [],
      sizeBytes: 1n,
      directory: `/snapshots/${id}`,
    };
    this.all.unshift(snapshot);
    return snapshot;
  }
}
