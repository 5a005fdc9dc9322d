import type { JSX } from "preact";
import { formatAge, formatBytes, formatCpu, shortId } from "./format.ts";
import { Spark } from "./spark.tsx";
import type { Store } from "./store.ts";
import type { ContainerView, PodView } from "./view.ts";

/** The pods as a table. */
export function Pods({
  pods,
  filter,
  selected,
  select,
  store,
}: {
  readonly pods: readonly PodView[] | undefined;
  readonly filter: string;
  readonly selected: string;
  readonly select: (pod: string) => void;
  readonly store: Store;
}): JSX.Element {
  const shown = (pods ?? []).filter((pod) => matches(pod, filter));
  if (shown.length === 0) {
    return (
      <p class="empty">
        {pods === undefined
          ? "Loading…"
          : filter === ""
            ? "There are no pods."
            : "No pod matches the filter."}
      </p>
    );
  }
  return (
    <section class="pods" aria-label="Pods">
      <div class="podrow heads" aria-hidden="true">
        <span>Pod</span>
        <span>State</span>
        <span class="right">Containers</span>
        <span class="cpu">CPU</span>
        <span class="memory">Memory</span>
        <span class="right age">Age</span>
      </div>
      {shown.map((pod) => (
        <PodRow key={pod.id} {...{ pod, select, store }} selected={pod.id === selected} />
      ))}
    </section>
  );
}

function matches({ id, namespace, name, ip, containers }: PodView, filter: string): boolean {
  const own = containers.flatMap((each) => [each.id, each.name, each.image]);
  return [`${namespace}/${name}`, id, ip, ...own]
    .join("\n")
    .toLowerCase()
    .includes(filter.toLowerCase());
}

/** A color and a word for the state of a pod. */
export function podState({ ready, failed, running, all, containers }: PodView): [string, string] {
  if (!ready) return ["off", "not ready"];
  if (failed) return ["bad", "failed"];
  const isCompleted = all > 0 && containers.every(({ state }) => state === "exited");
  if (isCompleted) return ["off", "completed"];
  if (containers.some(({ state }) => state === "paused")) return ["warn", "paused"];
  return running < all ? ["warn", "ready"] : ["good", "ready"];
}

function PodRow({
  pod,
  selected,
  select,
  store,
}: {
  readonly pod: PodView;
  readonly selected: boolean;
  readonly select: (pod: string) => void;
  readonly store: Store;
}): JSX.Element {
  const { id, namespace, name, running, all, usage, createdMs, containers } = pod;
  const samples = store.samplesOf(id);
  const [color, word] = podState(pod);
  const limit = containers.reduce((sum, { memoryLimit = 0 }) => sum + memoryLimit, 0);
  const trouble = containers.map(troubleOf).find((text) => text !== "");
  return (
    <button
      data-row
      class={`podrow${selected ? " selected" : ""}`}
      aria-pressed={selected}
      onClick={() => select(id)}
    >
      <span class="name">
        <span class="dim">{namespace}/</span>
        {name}
        <span class="dim sub">{trouble ?? shortId(id)}</span>
      </span>
      <span>
        <span class={`chip ${color}`}>{word}</span>
      </span>
      <span class="right">
        {running}/{all}
      </span>
      <span class="cpu">
        <Spark values={samples.map(({ cpu }) => cpu)} floor={0.02} />
        {formatCpu(usage.cpu)}
      </span>
      <span class="memory">
        <Spark values={samples.map(({ memory }) => memory)} floor={limit} />
        {usage.memory === undefined ? "–" : formatBytes(usage.memory)}
        {limit === 0 ? null : <span class="dim"> of {formatBytes(limit)}</span>}
      </span>
      <span class="right age">{formatAge(createdMs, Date.now())}</span>
    </button>
  );
}

/** Why a container does not run, in a few words; "" if it runs or has completed. */
function troubleOf({ name, exit, state }: ContainerView): string {
  if (state !== "exited" || exit === undefined || exit.code === 0) return "";
  return `${name}: ${exit.reason} (${exit.code}) ${exit.message}`;
}
