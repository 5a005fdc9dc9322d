import type {
  Container,
  ContainerStats,
  ContainerStatus,
  PodSandbox,
} from "../../gen/runtime/v1/api_pb.ts";
import { ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import { pausedIn } from "../objects/state.ts";
import { readInfo } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { type NodeStatus, readNodeStatus } from "./node-status.ts";

/** The bytes that a pod has received and sent since its start. */
export interface NetworkCounters {
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** The state of a server at one moment. */
export interface Sample {
  readonly atMs: number;
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
  readonly stats: readonly ContainerStats[];
  readonly node: NodeStatus;
  /** The statuses of exited containers by id, as far as they are known. */
  readonly ends: ReadonlyMap<string, ContainerStatus>;
  /** The ids of paused containers, which only davit reports. */
  readonly paused: ReadonlySet<string>;
  /** The network counters of pods by id; empty unless they are requested. */
  readonly network: ReadonlyMap<string, NetworkCounters>;
  readonly imageBytes: number | undefined;
}

/** A server that has its lists in memory answers at once: one that does not is reported as such. */
const answerMs = 5_000;

/** The size of the images changes with pulls only, and some servers compute it slowly. */
const imageMs = 30_000;

/**
 * Takes samples of a server. Each takes one call of Status, ListPodSandbox, ListContainers and ListContainerStats.
 * The status of a container is requested once after its exit, and the size of the images twice a minute.
 */
export class Sampler {
  readonly #server: Server;
  readonly #mostEnds: number;
  /** Whether a verbose Status has what only davit reports; undefined before the first one. */
  #isDavit: boolean | undefined;
  #ends = new Map<string, ContainerStatus>();
  #images: { readonly atMs: number; readonly bytes: number | undefined } | undefined;

  /** @param mostEnds how many statuses of exited containers a sample requests at most */
  constructor(server: Server, mostEnds = 20) {
    this.#server = { ...server, limit: (ms = answerMs) => server.limit(ms) };
    this.#mostEnds = mostEnds;
  }

  /** Takes a sample. `network` adds the network counters, which cost the server a ListPodSandboxStats. */
  async take(options: { readonly network: boolean }): Promise<Sample> {
    const { client, limit } = this.#server;
    const { runtime } = client;
    const verbose = this.#isDavit !== false;
    const [status, { items: pods }, { containers }, { stats }, network, imageBytes] =
      await Promise.all([
        doing("get the server's status", runtime.status({ verbose }, limit())),
        doing("list pods", runtime.listPodSandbox({}, limit())),
        doing("list containers", runtime.listContainers({}, limit())),
        doing("get container statistics", runtime.listContainerStats({}, limit())),
        options.network ? this.#network() : new Map<string, NetworkCounters>(),
        this.#imageBytes(),
      ]);
    const atMs = Date.now();
    const node = readNodeStatus(status, atMs);
    this.#isDavit = node.activity !== undefined;
    const ends = await this.#endsOf(containers);
    const paused = pausedIn(readInfo(status.info));
    return { atMs, pods, containers, stats, node, ends, paused, network, imageBytes };
  }

  async #network(): Promise<ReadonlyMap<string, NetworkCounters>> {
    const { client, limit } = this.#server;
    // Not all servers have pod statistics: then there are none for the network.
    const { stats } = await client.runtime
      .listPodSandboxStats({}, limit())
      .catch(() => ({ stats: [] }));
    return new Map(
      stats.flatMap(({ attributes, linux }): [string, NetworkCounters][] => {
        const { rxBytes, txBytes } = linux?.network?.defaultInterface ?? {};
        if (rxBytes === undefined || txBytes === undefined) return [];
        const counters = { rxBytes: Number(rxBytes.value), txBytes: Number(txBytes.value) };
        return [[attributes?.id ?? "", counters]];
      }),
    );
  }

  async #imageBytes(): Promise<number | undefined> {
    const now = performance.now();
    if (this.#images !== undefined && now - this.#images.atMs < imageMs) return this.#images.bytes;
    const { client, limit } = this.#server;
    const answer = await client.image.imageFsInfo({}, limit()).catch(() => undefined);
    const sizes = answer?.imageFilesystems.map(({ usedBytes }) => Number(usedBytes?.value ?? 0n));
    const bytes = sizes?.reduce((sum, size) => sum + size, 0);
    this.#images = { atMs: now, bytes };
    return bytes;
  }

  async #endsOf(containers: readonly Container[]): Promise<ReadonlyMap<string, ContainerStatus>> {
    const { client, limit } = this.#server;
    const exited = containers.filter(({ state }) => state === ContainerState.CONTAINER_EXITED);
    // Containers that were removed are forgotten.
    const ends = new Map<string, ContainerStatus>();
    for (const { id } of exited) {
      const known = this.#ends.get(id);
      if (known !== undefined) ends.set(id, known);
    }
    const missing = exited.filter(({ id }) => !ends.has(id));
    await Promise.all(
      missing.slice(0, this.#mostEnds).map(async ({ id }) => {
        const answer = await client.runtime
          .containerStatus({ containerId: id }, limit())
          .catch(() => undefined);
        if (answer?.status !== undefined) ends.set(id, answer.status);
      }),
    );
    this.#ends = ends;
    return ends;
  }
}
