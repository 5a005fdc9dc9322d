import {
  type Container,
  ContainerState,
  type ContainerStatus,
  type PodSandbox,
  PodSandboxState,
} from "../../../gen/runtime/v1/api_pb.ts";
import type { ContainerView, PodView } from "../../../page/view.ts";
import { countContainers } from "../../objects/counts.ts";
import { joinPods, type PodContainer, podName } from "../../objects/find.ts";
import { containerStateName } from "../../objects/state.ts";
import { reasonIn } from "./operations.ts";
import { sumUsage, type Usage } from "./usage.ts";

/** What the pods of the page are built from. */
export interface PodSources {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
  /** As far as they are known. */
  readonly statuses: ReadonlyMap<string, ContainerStatus>;
  /** The ids of paused containers. */
  readonly paused: ReadonlySet<string>;
  /** The addresses of pods, as far as they are known. */
  readonly addresses: ReadonlyMap<string, string>;
  readonly usage: Usage;
}

/** The pods with their containers, by namespace and name; the newest of a name first. */
export function buildPods(sources: PodSources): readonly PodView[] {
  const byPod = Map.groupBy(
    joinPods(sources.containers, sources.pods),
    ({ container }) => container.podSandboxId,
  );
  return sources.pods
    .map((pod) => buildPod(pod, byPod.get(pod.id) ?? [], sources))
    .toSorted(
      (a, b) =>
        compare(a.namespace, b.namespace) || compare(a.name, b.name) || b.createdMs - a.createdMs,
    );
}

function buildPod(
  pod: PodSandbox,
  items: readonly PodContainer[],
  { statuses, paused, addresses, usage }: PodSources,
): PodView {
  const containers = items
    .map(({ container }) => {
      const view = buildContainer(container, statuses.get(container.id), usage);
      return paused.has(container.id) ? { ...view, state: "paused" as const } : view;
    })
    .toSorted((a, b) => compare(a.name, b.name) || b.attempt - a.attempt);
  const own = usage.of(pod.id);
  const sum = sumUsage(containers.map((each) => each.usage));
  return {
    id: pod.id,
    namespace: pod.metadata?.namespace ?? "",
    name: podName(pod),
    ready: pod.state === PodSandboxState.SANDBOX_READY,
    ip: addresses.get(pod.id) ?? "",
    handler: pod.runtimeHandler,
    createdMs: toMs(pod.createdAt),
    ...countContainers(items, exitedOf(statuses)),
    containers,
    usage: {
      ...own,
      cpu: own.cpu ?? sum.cpu,
      memory: own.memory ?? sum.memory,
      disk: sum.disk,
    },
  };
}

function exitedOf(
  statuses: ReadonlyMap<string, ContainerStatus>,
): ReadonlyMap<string, ContainerStatus> {
  const exited = ContainerState.CONTAINER_EXITED;
  return new Map([...statuses].filter(([, { state }]) => state === exited));
}

function buildContainer(
  container: Container,
  status: ContainerStatus | undefined,
  usage: Usage,
): ContainerView {
  const { id, metadata, image, state, createdAt } = container;
  return {
    id,
    name: metadata?.name ?? "",
    image: image?.userSpecifiedImage || image?.image || container.imageRef,
    state: containerStateName(state),
    attempt: metadata?.attempt ?? 0,
    createdMs: toMs(createdAt),
    ...(status === undefined ? unknownStatus : statusView(status)),
    usage: usage.of(id),
  };
}

type StatusPart = Pick<ContainerView, "startedMs" | "exit" | "memoryLimit">;

const unknownStatus: StatusPart = { startedMs: undefined, exit: undefined, memoryLimit: undefined };

function statusView(status: ContainerStatus): StatusPart {
  const { state, startedAt, finishedAt, exitCode, reason, message, resources } = status;
  const limit = resources?.linux?.memoryLimitInBytes ?? 0n;
  const isExited = state === ContainerState.CONTAINER_EXITED;
  return {
    startedMs: startedAt <= 0n ? undefined : toMs(startedAt),
    exit: isExited
      ? { code: exitCode, reason, message: reasonIn(message), atMs: toMs(finishedAt) }
      : undefined,
    memoryLimit: limit > 0n ? Number(limit) : undefined,
  };
}

/** A CRI timestamp in milliseconds. */
export function toMs(timeNs: bigint): number {
  return Number(timeNs / 1_000_000n);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
