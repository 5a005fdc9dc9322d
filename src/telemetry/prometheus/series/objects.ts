import type { Container, ContainerStateName } from "../../../core/container/index.ts";
import type { SandboxStateName } from "../../../core/sandbox/index.ts";
import type { Counter, Registry, Sample } from "../registry.ts";

interface Stored<Name extends string> {
  readonly state: { readonly name: Name };
}

/** Unused layers or images that were removed, and why. The names are few and do not change. */
interface CollectedCount {
  readonly kind: string;
  readonly reason: string;
  readonly removed: number;
  readonly bytes: number;
}

/** Where the numbers of objects come from. */
export interface ObjectSources {
  readonly sandboxes: () => Iterable<Stored<SandboxStateName>>;
  readonly containers: () => Iterable<Stored<ContainerStateName>>;
  readonly images: () => number;
  readonly layers: () => { readonly count: number; readonly bytes: number };
  /** Of containers that continued to run. */
  readonly oomKills: () => number;
  /** Denied system calls by name, which are those of the kernel and so few. */
  readonly deniedCalls: () => ReadonlyMap<string, number>;
  /** What was removed because nobody used it. */
  readonly collected: () => Iterable<CollectedCount>;
  /** Undefined until the network's configuration has been read. */
  readonly networkReady: () => boolean | undefined;
}

const sandboxStates = {
  creating: 0,
  ready: 0,
  dead: 0,
  stopped: 0,
} as const satisfies Record<SandboxStateName, 0>;

const containerStates = {
  creating: 0,
  created: 0,
  running: 0,
  exited: 0,
} as const satisfies Record<ContainerStateName, 0>;

/** The reasons of an exit (core/container/state.ts). */
const exitReasons = [
  "Completed",
  "Error",
  "OOMKilled",
  "StartError",
  "Unknown",
  "seccomp killed",
] as const;

/** Registers the numbers of pods, containers, images and layers, which are counted at each scrape. */
export function addObjectSeries(registry: Registry, sources: ObjectSources): void {
  registry.computed(
    "gauge",
    {
      name: "davit_sandboxes",
      help: "Pod sandboxes by state: creating, ready, dead or stopped.",
      labels: ["state"],
    },
    () => byState(sandboxStates, sources.sandboxes()),
  );
  registry.computed(
    "gauge",
    {
      name: "davit_containers",
      help: "Containers by state: creating, created, running or exited.",
      labels: ["state"],
    },
    () => byState(containerStates, sources.containers()),
  );
  registry.computed("gauge", { name: "davit_images", help: "Images on the node." }, () => [
    { value: sources.images() },
  ]);
  registry.computed("gauge", { name: "davit_image_layers", help: "Layers on the node." }, () => [
    { value: sources.layers().count },
  ]);
  registry.computed(
    "gauge",
    { name: "davit_image_layers_bytes", help: "Size of all layers on the node, unpacked." },
    () => [{ value: sources.layers().bytes }],
  );
  addCollected(registry, sources);
  registry.computed(
    "counter",
    {
      name: "davit_oom_kills_total",
      help: "Processes that the kernel's OOM killer killed in containers that continued to run.",
    },
    () => [{ value: sources.oomKills() }],
  );
  registry.computed(
    "counter",
    {
      name: "davit_seccomp_denied_calls_total",
      help:
        "System calls that the seccomp filters of containers with the seccomp notifier denied, by name; " +
        "`unknown` for numbers without one.",
      labels: ["syscall"],
    },
    () => [...sources.deniedCalls()].map(([syscall, value]) => ({ labels: [syscall], value })),
  );
  registry.computed(
    "gauge",
    {
      name: "davit_network_ready",
      help: "The condition NetworkReady: 1 if pods can get a network, else 0.",
    },
    () => {
      const ready = sources.networkReady();
      return ready === undefined ? [] : [{ value: ready ? 1 : 0 }];
    },
  );
}

function addCollected(registry: Registry, { collected }: ObjectSources): void {
  const labels = ["kind", "reason"];
  registry.computed(
    "counter",
    {
      name: "davit_image_gc_removed_total",
      help: "Unused layers and images that davit removed by itself, because of their age or of a full disk.",
      labels,
    },
    () =>
      Array.from(collected(), (each) => ({
        value: each.removed,
        labels: [each.kind, each.reason],
      })),
  );
  registry.computed(
    "counter",
    {
      name: "davit_image_gc_removed_bytes_total",
      help: "Unpacked bytes of the unused layers and images that davit removed by itself.",
      labels,
    },
    () =>
      Array.from(collected(), (each) => ({ value: each.bytes, labels: [each.kind, each.reason] })),
  );
}

function byState(
  none: Readonly<Record<string, 0>>,
  objects: Iterable<Stored<string>>,
): readonly Sample[] {
  const counts = new Map<string, number>(Object.entries(none));
  for (const { state } of objects) counts.set(state.name, (counts.get(state.name) ?? 0) + 1);
  return [...counts].map(([name, value]) => ({ value, labels: [name] }));
}

/** Counts the ends of containers by their reason, from the changes in the store. */
export class ExitSeries {
  readonly #exits: ReadonlyMap<string, Counter>;
  /** The exits that were counted: a container can change after its exit. */
  readonly #counted = new WeakSet<Container["state"]>();

  constructor(registry: Registry) {
    const exits = registry.counter({
      name: "davit_container_exits_total",
      help: "Containers that have ended, by reason. OOMKilled: the kernel killed it for its memory limit.",
      labels: ["reason"],
    });
    this.#exits = new Map(exitReasons.map((reason) => [reason, exits.with(reason)]));
  }

  /** A listener of the store of containers. */
  readonly changed = (
    { state }: Pick<Container, "state">,
    change: "listed" | "updated" | "removed",
  ): void => {
    if (change !== "updated" || state.name !== "exited" || this.#counted.has(state)) return;
    this.#counted.add(state);
    this.#exits.get(state.reason)?.add();
  };
}
