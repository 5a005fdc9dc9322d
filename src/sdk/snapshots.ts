import { open } from "node:fs/promises";
import type { Snapshot as Message } from "../gen/davit/v1/checkpoints_pb.ts";
import type { Snapshot, SnapshotOptions } from "./api/snapshots.ts";
import type { Connection } from "./connection.ts";
import { DavitError } from "./errors.ts";
import { explain } from "./explain.ts";
import { toDate } from "./logs.ts";
import { pieces } from "./pieces.ts";

const removeMs = 60_000;

/** A snapshot of the server. */
class ServerSnapshot implements Snapshot {
  readonly id: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly takenAt: Date;
  readonly sizeBytes: number;
  readonly containers: Snapshot["containers"];
  readonly #connection: Connection;

  constructor(connection: Connection, message: Message) {
    this.#connection = connection;
    this.id = message.id;
    this.podName = message.podName;
    this.podNamespace = message.podNamespace;
    this.takenAt = toDate(message.takenAtNs);
    this.sizeBytes = Number(message.size);
    this.containers = message.containers.map(({ name, image }) => ({ name, image }));
  }

  async *export(
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { checkpoints } = this.#connection.client;
    try {
      for await (const { data } of checkpoints.exportSnapshot({ id: this.id }, options)) yield data;
    } catch (error) {
      throw this.#connection.explain(`export snapshot "${this.id}"`, error, options.signal);
    }
  }

  async remove(): Promise<void> {
    const { client } = this.#connection;
    const options = this.#connection.quick(undefined, removeMs);
    const call = client.checkpoints.removeSnapshot({ id: this.id }, options);
    await this.#connection.davitOnly(`remove snapshot "${this.id}"`, call);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }
}

/** Saves the state of a pod. */
export async function takeSnapshot(
  connection: Connection,
  pod: { readonly id: string; readonly path: string },
  { closeTcp = false, signal }: SnapshotOptions,
): Promise<Snapshot> {
  const what = `take a snapshot of pod "${pod.path}"`;
  connection.check(what);
  const options = signal === undefined ? {} : { signal };
  const call = connection.client.checkpoints.takeSnapshot({ sandboxId: pod.id, closeTcp }, options);
  return new ServerSnapshot(connection, await connection.davitOnly(what, call, signal));
}

/** The snapshots of a server. */
export async function listSnapshots(connection: Connection): Promise<readonly Snapshot[]> {
  return (await listMessages(connection)).map((each) => new ServerSnapshot(connection, each));
}

/** A snapshot with the configs of its pod, by its id. */
export async function findSnapshot(connection: Connection, id: string): Promise<Message> {
  const found = (await listMessages(connection)).find((each) => each.id === id);
  if (found !== undefined) return found;
  throw new DavitError("not-found", `restore snapshot "${id}": there is none with this id`);
}

/** Keeps a snapshot that was exported. */
export async function importSnapshot(
  connection: Connection,
  source: string | AsyncIterable<Uint8Array>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Snapshot> {
  const what = `import ${typeof source === "string" ? `"${source}"` : "a snapshot"}`;
  connection.check(what);
  const chunks = typeof source === "string" ? await openFile(source, what) : source;
  async function* requests() {
    for await (const chunk of chunks) {
      for (const data of pieces(chunk)) yield { data };
    }
  }
  const options = signal === undefined ? {} : { signal };
  const read = async (): Promise<Message> => {
    for await (const { snapshot } of connection.client.checkpoints.importSnapshot(
      requests(),
      options,
    )) {
      if (snapshot !== undefined) return snapshot;
    }
    throw new DavitError("internal", `${what}: the server has answered without a snapshot`);
  };
  return new ServerSnapshot(connection, await connection.davitOnly(what, read(), signal));
}

async function openFile(path: string, what: string): Promise<AsyncIterable<Uint8Array>> {
  try {
    const file = await open(path);
    return file.createReadStream();
  } catch (error) {
    throw explain(what, error);
  }
}

async function listMessages(connection: Connection): Promise<readonly Message[]> {
  const call = connection.client.checkpoints.listSnapshots({}, connection.quick());
  return (await connection.davitOnly("list snapshots", call)).snapshots;
}
