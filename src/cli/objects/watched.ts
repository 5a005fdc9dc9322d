// The states of some pods and containers while a command waits for one of them, from lists and events.
import {
  type ContainerEventResponse,
  ContainerEventType,
  ContainerState,
  type ContainerStatus,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CallOptions, CriClient } from "../../client/cri-client.ts";
import { isKind } from "../../base/errors.ts";

/** A container as it was last seen. States only move forward, since an event may be older than a list. */
export interface WatchedContainer {
  readonly id: string;
  readonly podId: string;
  readonly name: string;
  readonly createdAt: bigint;
  readonly state: "created" | "running" | "exited";
  /** The status of a container that has exited. */
  readonly end: ContainerStatus | undefined;
  readonly isRemoved: boolean;
}

/** A pod as it was last seen. */
export interface WatchedPod {
  readonly isReady: boolean;
  readonly isRemoved: boolean;
}

/** The pods and containers that a command waits for. */
interface Watched {
  readonly podIds: ReadonlySet<string>;
  readonly containerIds: ReadonlySet<string>;
}

const ranks = { created: 0, running: 1, exited: 2 } as const;

/** Collects the states of pods, with all of their containers, and of single containers. */
export class WatchedStates {
  readonly #watched: Watched;
  readonly #pods = new Map<string, WatchedPod>();
  readonly #containers = new Map<string, WatchedContainer>();

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  /** Undefined for a pod that was never seen. */
  pod(id: string): WatchedPod | undefined {
    return this.#pods.get(id);
  }

  /** Undefined for a container that was never seen. */
  container(id: string): WatchedContainer | undefined {
    return this.#containers.get(id);
  }

  /** The containers of a pod, oldest first, with those that were removed. */
  containersOf(podId: string): readonly WatchedContainer[] {
    const own = [...this.#containers.values()].filter((each) => each.podId === podId);
    return own.toSorted((a, b) => (a.createdAt < b.createdAt ? -1 : 1));
  }

  /** Asks the server for the current states. */
  async look({ runtime }: Pick<CriClient, "runtime">, options: CallOptions): Promise<void> {
    const [{ items }, { containers }] = await Promise.all([
      runtime.listPodSandbox({}, options),
      runtime.listContainers({}, options),
    ]);
    const pods = items.filter(({ id }) => this.#watched.podIds.has(id));
    for (const { id, state } of pods) this.#seePod(id, state === PodSandboxState.SANDBOX_READY);
    const listed = containers.filter(({ id, podSandboxId }) => this.#isWatched(id, podSandboxId));
    const ended = listed.filter(({ id, state }) => {
      return (
        state === ContainerState.CONTAINER_EXITED && this.#containers.get(id)?.end === undefined
      );
    });
    const ends = new Map<string, ContainerStatus>();
    for (const { id } of ended) {
      const end = await statusOf({ runtime }, id, options);
      if (end !== undefined) ends.set(id, end);
    }
    for (const { id, podSandboxId, metadata, createdAt, state } of listed) {
      const facts = { id, podId: podSandboxId, name: metadata?.name ?? "", createdAt };
      this.#seeContainer(facts, state, ends.get(id));
    }
    this.#removeAllBut(new Set([...pods, ...listed].map(({ id }) => id)));
  }

  /** Takes what an event tells. */
  apply(event: ContainerEventResponse): void {
    const { podSandboxStatus: pod, containersStatuses, containerId } = event;
    if (pod !== undefined) {
      if (this.#watched.podIds.has(pod.id)) {
        this.#seePod(pod.id, pod.state === PodSandboxState.SANDBOX_READY);
      }
      for (const status of containersStatuses) {
        const { id, metadata, createdAt, state } = status;
        if (!this.#isWatched(id, pod.id)) continue;
        // CRI-O sends the containers of all sandboxes of the pod.
        const podId = this.#containers.get(id)?.podId ?? pod.id;
        const facts = { id, podId, name: metadata?.name ?? "", createdAt };
        this.#seeContainer(facts, state, status);
      }
    }
    if (event.containerEventType === ContainerEventType.CONTAINER_DELETED_EVENT) {
      this.#remove(containerId);
    }
  }

  #isWatched(id: string, podId: string): boolean {
    return this.#watched.containerIds.has(id) || this.#watched.podIds.has(podId);
  }

  #seePod(id: string, isReady: boolean): void {
    const known = this.#pods.get(id);
    // A sandbox never becomes ready again.
    this.#pods.set(id, {
      isReady: isReady && known?.isReady !== false,
      isRemoved: known?.isRemoved ?? false,
    });
  }

  #seeContainer(
    facts: Pick<WatchedContainer, "id" | "podId" | "name" | "createdAt">,
    criState: ContainerState,
    status: ContainerStatus | undefined,
  ): void {
    const known = this.#containers.get(facts.id);
    const seen = stateOf(criState);
    const state = known !== undefined && ranks[known.state] > ranks[seen] ? known.state : seen;
    const end = known?.end ?? (seen === "exited" ? status : undefined);
    this.#containers.set(facts.id, { ...facts, state, end, isRemoved: known?.isRemoved ?? false });
  }

  #remove(id: string): void {
    const pod = this.#pods.get(id);
    if (pod !== undefined || this.#watched.podIds.has(id)) {
      this.#pods.set(id, { isReady: false, isRemoved: true });
    }
    const container = this.#containers.get(id);
    if (container !== undefined) this.#containers.set(id, { ...container, isRemoved: true });
  }

  #removeAllBut(listed: ReadonlySet<string>): void {
    for (const id of [...this.#watched.podIds, ...this.#containers.keys()]) {
      if (!listed.has(id)) this.#remove(id);
    }
  }
}

/** A state that the server does not know is one of a container that may still run. */
function stateOf(state: ContainerState): WatchedContainer["state"] {
  switch (state) {
    case ContainerState.CONTAINER_CREATED:
      return "created";
    case ContainerState.CONTAINER_EXITED:
      return "exited";
    case ContainerState.CONTAINER_RUNNING:
    case ContainerState.CONTAINER_UNKNOWN:
    default:
      return "running";
  }
}

/** Undefined for a container that was removed meanwhile. */
async function statusOf(
  { runtime }: Pick<CriClient, "runtime">,
  containerId: string,
  options: CallOptions,
): Promise<ContainerStatus | undefined> {
  try {
    return (await runtime.containerStatus({ containerId }, options)).status;
  } catch (error) {
    if (isKind(error, "not-found")) return undefined;
    throw error;
  }
}
