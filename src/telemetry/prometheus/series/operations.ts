import { parseReference } from "../../../core/image/index.ts";
import {
  type OperationName,
  type OperationObserver,
  type OperationView,
  type PastOperation,
  type RunningOperation,
  stages,
} from "../../../core/operation/index.ts";
import type { Counter, Family, Histogram, Registry, Sample } from "../registry.ts";

const durationBounds = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600,
] as const;

const stageBounds = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 120] as const;

// Stages that are not work of their own. `answer` marks the end, and the end of a plugin is part of the
// stage of the network.
const notMeasured: ReadonlySet<string> = new Set(["answer", "network-plugin-done"]);

interface OperationSeries {
  readonly ok: Counter;
  readonly failed: Counter;
  readonly durations: Histogram;
  readonly stages: Map<string, Histogram>;
  running: number;
}

/** Observes pulls that failed. */
export type PullFailed = (registry: string, reason: string) => void;

/** The operations of the daemon: how many, how long, and where they fail. */
export class OperationMetrics implements OperationObserver {
  readonly #operations = new Map<string, OperationSeries>();
  readonly #stages: Family<Histogram>;
  readonly #failures: Family<Counter>;
  readonly #execTimeouts: Counter;
  readonly #pullFailed: PullFailed;

  constructor(
    registry: Registry,
    sources: { readonly views: () => readonly OperationView[]; readonly pullFailed: PullFailed },
  ) {
    this.#pullFailed = sources.pullFailed;
    const total = registry.counter({
      name: "davit_operations_total",
      help: "Operations that have ended, by their name and result: ok or error.",
      labels: ["operation", "result"],
    });
    const durations = registry.histogram(
      {
        name: "davit_operation_duration_seconds",
        help: "How long operations took, including those that failed.",
        labels: ["operation"],
      },
      durationBounds,
    );
    this.#stages = registry.histogram(
      {
        name: "davit_operation_stage_duration_seconds",
        help: "How long the stages of operations took that succeeded.",
        labels: ["operation", "stage"],
      },
      stageBounds,
    );
    this.#failures = registry.counter({
      name: "davit_operation_failures_total",
      help: "Operations that failed, by the stage in which they failed.",
      labels: ["operation", "stage"],
    });
    this.#execTimeouts = registry
      .counter({
        name: "davit_exec_sync_timeouts_total",
        help: "Commands of ExecSync, such as probes, that were killed at their timeout.",
      })
      .with();
    for (const name of Object.keys(stages)) {
      this.#operations.set(name, {
        ok: total.with(name, "ok"),
        failed: total.with(name, "error"),
        durations: durations.with(name),
        stages: new Map(),
        running: 0,
      });
    }
    this.#addGauges(registry, sources.views);
  }

  #addGauges(registry: Registry, views: () => readonly OperationView[]): void {
    registry.computed(
      "gauge",
      {
        name: "davit_operations_in_flight",
        help: "Operations in progress. Those of exec and attach are sessions of clients.",
        labels: ["operation"],
      },
      () =>
        [...this.#operations].map(([name, { running }]) => ({ value: running, labels: [name] })),
    );
    registry.computed(
      "gauge",
      {
        name: "davit_operation_oldest_seconds",
        help: "Age of the oldest operation in progress; 0 where there is none.",
        labels: ["operation"],
      },
      () => oldest(this.#operations.keys(), views()),
    );
  }

  readonly began = ({ name }: RunningOperation): void => {
    const series = this.#operations.get(name);
    if (series !== undefined) series.running++;
  };

  readonly ended = (operation: RunningOperation, past: PastOperation): void => {
    const series = this.#operations.get(operation.name);
    if (series === undefined) return;
    series.running--;
    series.durations.observe(past.tookMs / 1000);
    const { failure } = operation;
    if (failure === undefined) {
      series.ok.add();
      this.#measureStages(operation.name, series, past);
      return;
    }
    series.failed.add();
    this.#failures.with(operation.name, failure.stage).add();
    if (operation.name === "pull-image") {
      this.#pullFailed(registryOf(operation.subject), failure.kind);
    } else if (operation.name === "exec-sync" && failure.kind === "deadline-exceeded") {
      this.#execTimeouts.add();
    }
  };

  /** A stage lasts until the next one begins, as `davit why` shows it. */
  #measureStages(name: OperationName, series: OperationSeries, past: PastOperation): void {
    const marks = past.stages.filter(({ stage }) => stage !== "network-plugin-done");
    for (const [at, { stage, atMs }] of marks.entries()) {
      if (notMeasured.has(stage)) continue;
      let histogram = series.stages.get(stage);
      if (histogram === undefined) {
        histogram = this.#stages.with(name, stage);
        series.stages.set(stage, histogram);
      }
      const toMs = marks[at + 1]?.atMs ?? Math.max(past.tookMs, atMs);
      histogram.observe((toMs - atMs) / 1000);
    }
  }
}

function oldest(names: Iterable<string>, views: readonly OperationView[]): readonly Sample[] {
  const ages = new Map<string, number>([...names].map((name) => [name, 0]));
  for (const { operation, ageMs } of views) {
    ages.set(operation, Math.max(ages.get(operation) ?? 0, ageMs / 1000));
  }
  return [...ages].map(([name, value]) => ({ value, labels: [name] }));
}

/** The registry of a full image name. */
function registryOf(subject: string): string {
  try {
    return parseReference(subject).registry;
  } catch {
    return "";
  }
}
