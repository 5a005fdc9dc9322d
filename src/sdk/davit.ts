import type { Cri, Davit, PodFilter } from "./api/davit.ts";
import type { DavitEvent, EventsOptions } from "./api/events.ts";
import type { Image, Pull } from "./api/images.ts";
import type {
  ApplyOptions,
  ConnectOptions,
  LoadOptions,
  PullOptions,
  RootFs,
  RunOptions,
} from "./api/options.ts";
import type { Pod } from "./api/pod.ts";
import type { Fork } from "./api/fork.ts";
import type { RestoreOptions, Snapshot } from "./api/snapshots.ts";
import { PodSandboxState, type PodSandbox } from "../gen/runtime/v1/api_pb.ts";
import { Connection } from "./connection.ts";
import { PodDirectories } from "./directories.ts";
import { DavitError } from "./errors.ts";
import { events } from "./events.ts";
import { listImages, load } from "./images.ts";
import { Lease } from "./lease.ts";
import { toDate } from "./logs.ts";
import { RunningPodHandle } from "./pod.ts";
import { RunningPull } from "./pull.ts";
import type { RunHost } from "./run.ts";

/** What a client has of a server that belongs to it. */
export interface OwnServerOptions {
  /** Runs at the end of the client. */
  readonly onClosed?: () => Promise<void>;
  /** The network of pods that ask for none. */
  readonly network?: "none";
}

/** Connects to a server. */
export async function connect(
  { endpoint, signal }: ConnectOptions = {},
  own: OwnServerOptions = {},
): Promise<Davit> {
  return new DavitClient(await Connection.open(endpoint, signal), own);
}

/** A connection to a server, with what was run through it. */
class DavitClient implements Davit {
  readonly endpoint: string;
  readonly server: Davit["server"];
  readonly cri: Cri;
  readonly #connection: Connection;
  readonly #host: RunHost;
  readonly #own: OwnServerOptions;
  /** The pods that its end removes. */
  readonly #pods = new Map<string, RunningPodHandle>();
  #closing: Promise<void> | undefined;

  constructor(connection: Connection, own: OwnServerOptions) {
    this.#connection = connection;
    this.#own = own;
    this.endpoint = connection.endpoint;
    this.server = connection.server;
    this.cri = connection.client;
    this.#host = {
      connection,
      directories: new PodDirectories(),
      lease: new Lease(connection),
      onRunning: (pod, keep) => {
        if (!keep) this.#pods.set(pod.id, pod);
      },
      onRemoved: (id) => this.#pods.delete(id),
      list: () => this.#list({}),
    };
  }

  pull(image: string, options?: PullOptions): Pull {
    return new RunningPull(this.#connection, image, options);
  }

  async load(
    source: string | AsyncIterable<Uint8Array> | RootFs,
    options?: LoadOptions,
  ): Promise<readonly Image[]> {
    return await load(this.#connection, source, options);
  }

  async run(image: string, options?: RunOptions): Promise<Pod> {
    // Loaded with the first pod, with the reader of manifests.
    const { run } = await import("./run.ts");
    return await run(this.#host, image, { ...this.#defaults, ...options });
  }

  async apply(manifest: string | URL | object, options?: ApplyOptions): Promise<readonly Pod[]> {
    const { apply } = await import("./run.ts");
    return await apply(this.#host, manifest, options);
  }

  async restore(snapshot: Snapshot | string, options?: RestoreOptions): Promise<Pod> {
    const { restore } = await import("./restore.ts");
    return await restore(
      this.#host,
      typeof snapshot === "string" ? snapshot : snapshot.id,
      options,
    );
  }

  async fork(source: Snapshot | Pod, count: number, options?: RestoreOptions): Promise<Fork> {
    const { fork } = await import("./restore.ts");
    return await fork(this.#host, source, count, options);
  }

  async snapshots(): Promise<readonly Snapshot[]> {
    const { listSnapshots } = await import("./snapshots.ts");
    return await listSnapshots(this.#connection);
  }

  async importSnapshot(
    source: string | AsyncIterable<Uint8Array>,
    options?: { readonly signal?: AbortSignal },
  ): Promise<Snapshot> {
    const { importSnapshot } = await import("./snapshots.ts");
    return await importSnapshot(this.#connection, source, options);
  }

  async pods(filter: PodFilter = {}): Promise<readonly Pod[]> {
    return await this.#list(filter);
  }

  async images(): Promise<readonly Image[]> {
    return await listImages(this.#connection);
  }

  events(options?: EventsOptions): AsyncIterable<DavitEvent> {
    return events(this.#connection, options);
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #defaults(): RunOptions {
    const { network } = this.#own;
    return network === undefined ? {} : { network };
  }

  async #close(): Promise<void> {
    const results = await Promise.allSettled([...this.#pods.values()].map((pod) => pod.remove()));
    // The server removes what is left with the lease.
    this.#host.lease.end();
    this.#connection.close();
    await this.#host.directories.remove();
    await this.#own.onClosed?.();
    const failures = results.flatMap((each) =>
      each.status === "rejected" ? [each.reason as DavitError] : [],
    );
    const [first] = failures;
    if (first === undefined || this.#own.onClosed !== undefined) return;
    throw new DavitError(
      first.kind,
      `close the connection to "${this.endpoint}": ${first.message}`,
      {
        cause: failures.length === 1 ? first : new AggregateError(failures),
      },
    );
  }

  async #list({
    name,
    namespace,
    labels = {},
    stopped = true,
  }: PodFilter): Promise<readonly RunningPodHandle[]> {
    const { runtime } = this.#connection.client;
    const call = runtime.listPodSandbox(
      { filter: { labelSelector: { ...labels } } },
      this.#connection.quick(),
    );
    const { items } = await this.#connection.doing("list pods", call);
    const found = items.filter(
      ({ metadata, state }) =>
        (name === undefined || metadata?.name === name) &&
        (namespace === undefined || metadata?.namespace === namespace) &&
        (stopped || state === PodSandboxState.SANDBOX_READY),
    );
    const pods = found.map(async (item) => this.#pods.get(item.id) ?? (await this.#handle(item)));
    return (await Promise.all(pods)).filter((pod) => pod !== undefined);
  }

  /** A pod with its address, which lists do not have; undefined if it was removed meanwhile. */
  async #handle({
    id,
    metadata,
    labels,
    createdAt,
  }: PodSandbox): Promise<RunningPodHandle | undefined> {
    const { runtime } = this.#connection.client;
    const { name = "", namespace = "", uid = "" } = metadata ?? {};
    let address = "";
    try {
      const call = runtime.podSandboxStatus({ podSandboxId: id }, this.#connection.quick());
      const { status } = await this.#connection.doing(
        `get the status of pod "${namespace}/${name}"`,
        call,
      );
      address = status?.network?.ip ?? "";
    } catch (error) {
      if (error instanceof DavitError && error.kind === "not-found") return undefined;
      throw error;
    }
    return new RunningPodHandle(this.#host, {
      id,
      name,
      namespace,
      uid,
      address,
      labels,
      createdAt: toDate(createdAt),
      containers: undefined,
    });
  }
}
