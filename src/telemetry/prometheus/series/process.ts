import { readdir, readFile } from "node:fs/promises";
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import type { Registry, Sample } from "../registry.ts";

const nsPerSecond = 1e9;

/** How often the event loop is sampled. Milliseconds. */
const resolutionMs = 20;

/** The quantiles describe one to two of these. Milliseconds. */
const windowMs = 60_000;

const quantiles = [0.5, 0.9, 0.99, 1] as const;

/** The process of the daemon: its memory, processor time and descriptors, the delay of its event loop, and its version. */
export class ProcessSeries implements Disposable {
  readonly #delay = new LoopDelay();
  #openFiles = 0;
  #maxFiles = Number.POSITIVE_INFINITY;

  constructor(registry: Registry, version: string) {
    this.#addMemory(registry);
    this.#addUse(registry);
    registry.computed(
      "summary",
      {
        name: "davit_event_loop_delay_seconds",
        help: "How late the event loop runs its timers. Quantiles of the last one to two minutes; 1 is the maximum.",
        labels: ["quantile"],
      },
      () => this.#delay.samples(),
    );
    registry.computed(
      "gauge",
      {
        name: "davit_build_info",
        help: "Always 1; the labels are the versions of davit and of Node.js.",
        labels: ["version", "node"],
      },
      () => [{ value: 1, labels: [version, process.version] }],
    );
  }

  #addMemory(registry: Registry): void {
    const gauge = (name: string, help: string, read: (use: NodeJS.MemoryUsage) => number): void => {
      registry.computed("gauge", { name, help }, () => [{ value: read(process.memoryUsage()) }]);
    };
    gauge("davit_process_resident_memory_bytes", "Resident memory.", ({ rss }) => rss);
    gauge("davit_process_heap_bytes", "Size of V8's heap.", ({ heapTotal }) => heapTotal);
    gauge("davit_process_heap_used_bytes", "V8's heap in use.", ({ heapUsed }) => heapUsed);
    gauge(
      "davit_process_external_memory_bytes",
      "Memory of buffers and other objects outside V8's heap.",
      ({ external }) => external,
    );
  }

  #addUse(registry: Registry): void {
    registry.computed(
      "counter",
      {
        name: "davit_process_cpu_seconds_total",
        help: "Processor time of the daemon, without the programs that it runs.",
      },
      () => {
        const { user, system } = process.cpuUsage();
        return [{ value: (user + system) / 1e6 }];
      },
    );
    registry.computed(
      "gauge",
      { name: "davit_process_open_fds", help: "Open file descriptors." },
      () => [{ value: this.#openFiles }],
    );
    registry.computed(
      "gauge",
      { name: "davit_process_max_fds", help: "The limit of open file descriptors." },
      () => [{ value: this.#maxFiles }],
    );
    const startSeconds = Math.round(performance.timeOrigin) / 1000;
    registry.computed(
      "gauge",
      {
        name: "davit_process_start_time_seconds",
        help: "When the daemon was started, in seconds since 1970.",
      },
      () => [{ value: startSeconds }],
    );
  }

  /** Reads from /proc what the next text shows. Never rejects. */
  async refresh(): Promise<void> {
    const [files, limits] = await Promise.all([
      readdir("/proc/self/fd").catch(() => undefined),
      readFile("/proc/self/limits", "utf8").catch(() => ""),
    ]);
    // The descriptor that reads the directory is one of them.
    if (files !== undefined) this.#openFiles = files.length - 1;
    const [, limit] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
    if (limit !== undefined) this.#maxFiles = Number(limit);
  }

  [Symbol.dispose](): void {
    this.#delay[Symbol.dispose]();
  }
}

/** The delay of the event loop, of which Node.js keeps a histogram that must be emptied from time to time. */
class LoopDelay implements Disposable {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: resolutionMs });
  #windowStartMs = performance.now();
  /** The quantiles of the last window. */
  #last: readonly number[] = quantiles.map(() => 0);
  #sum = 0;
  #count = 0;

  constructor() {
    this.#histogram.enable();
  }

  samples(): readonly Sample[] {
    const now = quantiles.map((quantile) => delayAt(this.#histogram, quantile));
    const { count } = this.#histogram;
    const sum = count === 0 ? 0 : delaySeconds(this.#histogram.mean) * count;
    const samples = [
      ...quantiles.map((quantile, at) => ({
        value: Math.max(now[at] ?? 0, this.#last[at] ?? 0),
        labels: [String(quantile)],
      })),
      { value: this.#sum + sum, suffix: "_sum" },
      { value: this.#count + count, suffix: "_count" },
    ] as const;
    if (performance.now() - this.#windowStartMs >= windowMs) {
      this.#windowStartMs = performance.now();
      this.#last = now;
      this.#sum += sum;
      this.#count += count;
      this.#histogram.reset();
    }
    return samples;
  }

  [Symbol.dispose](): void {
    this.#histogram.disable();
  }
}

function delayAt(histogram: IntervalHistogram, quantile: number): number {
  if (histogram.count === 0) return 0;
  return delaySeconds(quantile === 1 ? histogram.max : histogram.percentile(quantile * 100));
}

/** The delay of a sample. NOTE(node): the histogram has the times between two samples. */
export function delaySeconds(intervalNs: number): number {
  return Math.max(0, (intervalNs - resolutionMs * 1e6) / nsPerSecond);
}
