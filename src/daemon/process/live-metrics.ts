import { messageOf } from "../../base/errors.ts";
import type { Config } from "../../config/config.ts";
import type { CallObserver } from "../../wire/grpc/call.ts";
import type { Measured, Metrics, MetricsOptions } from "../build/metrics.ts";
import type { ReloadPart } from "./live-config.ts";

/**
 * The metrics, which a reload turns on, off or moves to another address. Their code is loaded when they are first
 * turned on. The series count on while they are turned off, so that no counter goes back.
 */
export class LiveMetrics implements ReloadPart, AsyncDisposable {
  readonly #options: MetricsOptions;
  #metrics: Metrics | undefined;
  #measured: Measured | undefined;

  private constructor(options: MetricsOptions) {
    this.#options = options;
  }

  static async open(config: Config, options: MetricsOptions): Promise<LiveMetrics> {
    const metrics = new LiveMetrics(options);
    const { listen } = config.metrics;
    if (listen === "") return metrics;
    const { Metrics: Loaded } = await import("../build/metrics.ts");
    metrics.#metrics = await Loaded.open(listen, options);
    return metrics;
  }

  /** Undefined until they are first turned on. */
  get current(): Metrics | undefined {
    return this.#metrics;
  }

  /** To be called at the end of each call. */
  readonly callEnded: CallObserver = (call, end) => this.#metrics?.callEnded(call, end);

  /** Measures a daemon that is built and has not recovered yet. */
  watch(built: Measured): void {
    this.#measured = built;
    this.#metrics?.watch(built);
  }

  async prepare({
    current,
    next,
    undo,
  }: Parameters<ReloadPart["prepare"]>[0]): Promise<() => void> {
    const { listen } = next.metrics;
    if (listen === current.metrics.listen) return () => undefined;
    if (listen === "") return () => this.#ended(this.#metrics?.serveBy(undefined));
    const { Metrics: Loaded } = await import("../build/metrics.ts");
    const metrics = this.#metrics ?? undo.use(new Loaded(this.#options));
    const server = undo.use(await metrics.listen(listen, this.#options));
    return () => {
      this.#ended(metrics.serveBy(server));
      if (this.#metrics !== undefined) return;
      this.#metrics = metrics;
      if (this.#measured !== undefined) metrics.watch(this.#measured);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#metrics?.[Symbol.asyncDispose]();
  }

  #ended(closing: Promise<void> | undefined): void {
    closing?.catch((error: unknown) => {
      this.#options.log.warn(`failed to close the server of metrics: ${messageOf(error)}`);
    });
  }
}
