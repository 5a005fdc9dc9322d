import { type Container, ContainerState, PodSandboxState } from "../../gen/runtime/v1/api_pb.ts";
import { countContainers } from "../objects/counts.ts";
import { joinPods, type PodContainer, podPath } from "../objects/find.ts";
import { containerStateName } from "../objects/state.ts";
import { formatAge, formatDuration } from "../output/figures.ts";
import type { NetworkCounters, Sample } from "./sample.ts";
import { sumCells, sumOf, type Usage, type UsageHistory } from "./usage.ts";

/** The color of a state: ok, in between, failed. */
export type Tone = "green" | "yellow" | "red";

/** Bytes per second. */
interface NetworkRate {
  readonly rx: number;
  readonly tx: number;
}

/** What a row shows besides its use. */
interface RowFacts {
  readonly id: string;
  readonly podId: string;
  /** The name in the table: NAMESPACE/POD, or the name of a container. */
  readonly name: string;
  /** NAMESPACE/POD or NAMESPACE/POD/CONTAINER. */
  readonly path: string;
  readonly state: string;
  readonly tone: Tone;
  /** The time since which the state lasts, in milliseconds since 1970; 0 if it is not known. */
  readonly sinceMs: number;
  readonly restarts: number;
}

/** The row of a container. */
export interface ContainerRow extends RowFacts, Partial<Usage> {
  readonly kind: "container";
  readonly container: PodContainer;
  readonly running: boolean;
}

/** The row of a pod, with those of its containers. */
export interface PodRow extends RowFacts, Partial<Usage> {
  readonly kind: "pod";
  readonly running: number;
  readonly all: number;
  readonly network: NetworkRate | undefined;
  readonly containers: readonly ContainerRow[];
}

/** A row of the table. */
export type Row = PodRow | ContainerRow;

/** The orders of the table. */
export const sortKeys = ["cpu", "memory", "age", "name"] as const;

/** An order of the table. */
export type SortKey = (typeof sortKeys)[number];

/** What of a sample is shown. */
export interface Selection {
  readonly sort: SortKey;
  /** Only pods whose path or a container's name contains this; "" shows all. */
  readonly filter: string;
  /** Only these pods, as NAMESPACE/NAME; undefined shows all. */
  readonly pods?: ReadonlySet<string> | undefined;
}

/**
 * The rows of all pods of a sample. Of each container, only the last attempt has a row. `before` is the previous
 * sample, for the rates of the network.
 */
export function podRows(sample: Sample, usage: UsageHistory, before?: Sample): readonly PodRow[] {
  const ofPod = Map.groupBy(
    joinPods(sample.containers, sample.pods),
    ({ container }) => container.podSandboxId,
  );
  return sample.pods.map((pod): PodRow => {
    const all = ofPod.get(pod.id) ?? [];
    const containers = newestAttempts(all).map((each) => containerRow(each, sample, usage));
    const ready = pod.state === PodSandboxState.SANDBOX_READY;
    const count = countContainers(all, sample.ends);
    const isPaused = containers.some(({ id }) => sample.paused.has(id));
    const isBusy = count.running === count.all && !isPaused;
    return {
      kind: "pod",
      id: pod.id,
      podId: pod.id,
      name: podPath(pod),
      path: podPath(pod),
      state: ready ? "ready" : "notready",
      tone: !ready || count.failed ? "red" : isBusy ? "green" : "yellow",
      sinceMs: msOf(pod.createdAt),
      restarts: containers.reduce((sum, each) => sum + each.restarts, 0),
      running: count.running,
      all: count.all,
      network: rateOf(before, sample, pod.id),
      containers,
      ...totalOf(containers),
    };
  });
}

/** The rows that are selected, in their order. */
export function selectRows(rows: readonly PodRow[], selection: Selection): readonly PodRow[] {
  const needle = selection.filter.toLowerCase();
  const matches = ({ path, containers }: PodRow): boolean =>
    selection.pods?.has(path) !== false &&
    [path, ...containers.map(({ name }) => name)].some((text) =>
      text.toLowerCase().includes(needle),
    );
  return rows.filter(matches).toSorted(orders[selection.sort]);
}

/** The last attempt of each container of a pod, in the order in which they were created. */
function newestAttempts(containers: readonly PodContainer[]): readonly PodContainer[] {
  const newest = new Map<string, PodContainer>();
  for (const each of containers) {
    const name = each.container.metadata?.name ?? "";
    const other = newest.get(name);
    if (other === undefined || other.container.createdAt <= each.container.createdAt) {
      newest.set(name, each);
    }
  }
  return [...newest.values()].toSorted((a, b) =>
    Number(a.container.createdAt - b.container.createdAt),
  );
}

function containerRow(each: PodContainer, sample: Sample, usage: UsageHistory): ContainerRow {
  const { container } = each;
  const end = sample.ends.get(container.id);
  const name = container.metadata?.name ?? "";
  const paused = sample.paused.has(container.id);
  const state = paused ? "paused" : containerStateName(container.state);
  const running = container.state === ContainerState.CONTAINER_RUNNING;
  return {
    kind: "container",
    id: container.id,
    podId: container.podSandboxId,
    name,
    path: `${podPath(each.pod)}/${name}`,
    state: end === undefined ? state : `${state} (${end.exitCode})`,
    tone: paused ? "yellow" : running ? "green" : (end?.exitCode ?? 0) === 0 ? "yellow" : "red",
    sinceMs: sinceOf(container, end?.finishedAt),
    restarts: container.metadata?.attempt ?? 0,
    container: each,
    running,
    ...(running ? usage.of(container.id) : {}),
  };
}

/** The CRI's lists have no start time; clients start a container as soon as it is created. */
function sinceOf({ state, createdAt }: Container, finishedAt: bigint | undefined): number {
  return msOf(state === ContainerState.CONTAINER_EXITED ? (finishedAt ?? 0n) : createdAt);
}

function totalOf(containers: readonly ContainerRow[]): Usage {
  const live = containers.filter(({ running }) => running);
  const limits = live.map(({ limitBytes }) => limitBytes);
  return {
    cpu: sumOf(live.map(({ cpu }) => cpu)),
    cpuHistory: sumCells(live.map(({ cpuHistory }) => cpuHistory ?? [])),
    memoryBytes: sumOf(live.map(({ memoryBytes }) => memoryBytes)),
    // Without a limit for each container there is none for the pod.
    limitBytes: limits.includes(undefined) ? undefined : sumOf(limits),
  };
}

function rateOf(before: Sample | undefined, now: Sample, podId: string): NetworkRate | undefined {
  const [first, last] = [before?.network.get(podId), now.network.get(podId)];
  if (before === undefined || first === undefined || last === undefined) return undefined;
  const seconds = (now.atMs - before.atMs) / 1000;
  if (seconds <= 0) return undefined;
  const per = (of: (counters: NetworkCounters) => number): number =>
    Math.max(0, of(last) - of(first)) / seconds;
  return { rx: per(({ rxBytes }) => rxBytes), tx: per(({ txBytes }) => txBytes) };
}

type Order = (a: PodRow, b: PodRow) => number;

const byName: Order = (a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0);

/** Largest first, and the newest pod first by age. Equal rows are sorted by name, so that they stay in place. */
const orders: Readonly<Record<SortKey, Order>> = {
  cpu: (a, b) => (b.cpu ?? -1) - (a.cpu ?? -1) || byName(a, b),
  memory: (a, b) => (b.memoryBytes ?? -1) - (a.memoryBytes ?? -1) || byName(a, b),
  age: (a, b) => b.sinceMs - a.sinceMs || byName(a, b),
  name: byName,
};

/** The state of a row with its age: "running 3 min", "exited (3) 2 min ago". */
export function stateText({ state, sinceMs }: Row, nowMs: number): string {
  if (sinceMs === 0) return state;
  if (state.startsWith("exited")) return `${state} ${formatAge(BigInt(sinceMs) * million, nowMs)}`;
  const ms = Math.max(0, nowMs - sinceMs);
  return `${state} ${ms < 60_000 ? `${Math.floor(ms / 1000)} s` : formatDuration(ms)}`;
}

const million = 1_000_000n;

function msOf(ns: bigint): number {
  return Number(ns / million);
}

/** The container that a row stands for: itself, or the only container of a pod, or its only running one. */
export function onlyContainer(row: Row): ContainerRow | undefined {
  if (row.kind === "container") return row;
  const [only, ...more] = row.containers;
  if (more.length === 0) return only;
  const [running, ...others] = row.containers.filter(({ running }) => running);
  return others.length === 0 ? running : undefined;
}
