import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { parseListenAddress } from "../../config/listen-address.ts";
import type { PullObserver } from "../../core/image/index.ts";
import type { PluginObserver } from "../../core/network/index.ts";
import type { CriContext } from "../../cri/index.ts";
import {
  addGauges,
  addObjectSeries,
  CallSeries,
  ExitSeries,
  type MetricsAddress,
  MetricsServer,
  OperationMetrics,
  nriSeries,
  pluginSeries,
  ProcessSeries,
  PullSeries,
  Registry,
} from "../../telemetry/prometheus/index.ts";
import type { CallObserver } from "../../wire/grpc/call.ts";
import type { GrpcServer } from "../../wire/grpc/server.ts";
import type { Calls } from "../process/calls.ts";

/** What the metrics need before the daemon is built. */
export interface MetricsOptions {
  readonly version: string;
  readonly calls: Pick<Calls, "size">;
  readonly server: Pick<GrpcServer, "waitingCalls" | "methods">;
  /** The group of a unix socket; undefined for that of this process. */
  readonly gid: number | undefined;
  readonly log: Logger;
}

/** The parts of a daemon that are measured. */
export interface Measured {
  readonly cri: CriContext;
  readonly gauges: {
    /** The lengths of queues. */
    readonly queues: () => Readonly<Record<string, number>>;
    /** The connections to the streaming server, by kind. */
    readonly sessions: () => Readonly<Record<string, number>>;
  };
}

/**
 * All series of the daemon, and their server. The series of the parts that are built later are empty until
 * watch(). This is the only place that connects parts of the daemon with series.
 */
export class Metrics implements AsyncDisposable {
  readonly registry = new Registry();
  /** To be called at the end of each call. */
  readonly callEnded: CallObserver;
  readonly pulls: PullObserver;
  readonly pluginRun: PluginObserver;
  readonly nriCall: ReturnType<typeof nriSeries>;
  readonly #operations: OperationMetrics;
  readonly #exits: ExitSeries;
  readonly #process: ProcessSeries;
  #measured: Measured | undefined;
  #server: MetricsServer | undefined;

  constructor(options: Pick<MetricsOptions, "version" | "calls" | "server">) {
    const { version, calls, server } = options;
    const { registry } = this;
    const cri = () => this.#measured?.cri;
    this.callEnded = new CallSeries(registry, server.methods, () => calls.size).ended;
    const pulls = new PullSeries(registry);
    this.pulls = pulls;
    this.#operations = new OperationMetrics(registry, {
      views: () => cri()?.sandboxes.operations.views() ?? [],
      pullFailed: pulls.failed,
    });
    this.pluginRun = pluginSeries(registry);
    this.nriCall = nriSeries(registry);
    this.#exits = new ExitSeries(registry);
    addObjectSeries(registry, {
      sandboxes: () => cri()?.sandboxes.store.all() ?? [],
      containers: () => cri()?.containers.store.all() ?? [],
      images: () => [...(cri()?.images.store.all() ?? [])].length,
      layers: () => {
        const layers = cri()?.images.layers;
        return { count: layers?.list().length ?? 0, bytes: Number(layers?.usage().bytes ?? 0n) };
      },
      oomKills: () => cri()?.containers.oomKills.total ?? 0,
      deniedCalls: () => cri()?.containers.deniedCalls?.totals ?? new Map<string, number>(),
      collected: () => cri()?.images.collected.counts() ?? [],
      networkReady: () => cri()?.network.status().ready,
    });
    addGauges(registry, {
      queues: () => ({ calls: server.waitingCalls, ...this.#measured?.gauges.queues() }),
      sessions: () => this.#measured?.gauges.sessions() ?? {},
    });
    this.#process = new ProcessSeries(registry, version);
  }

  /** Serves the series at `listen`, which is not empty. Errors name the setting. */
  static async open(listen: string, options: MetricsOptions): Promise<Metrics> {
    const metrics = new Metrics(options);
    try {
      metrics.#server = await metrics.listen(listen, options);
    } catch (error) {
      metrics.#process[Symbol.dispose]();
      throw error;
    }
    return metrics;
  }

  /** A server of the series, which is in use after serveBy(). Errors name the setting. */
  async listen(
    listen: string,
    { gid, log }: Pick<MetricsOptions, "gid" | "log">,
  ): Promise<MetricsServer> {
    try {
      const text = () => this.text();
      const server = await MetricsServer.listen(addressOf(listen, gid), { text, log });
      log.info("serving metrics", { listen });
      return server;
    } catch (cause) {
      throw listenError(listen, cause);
    }
  }

  /** Serves by another server, or by none; resolves when the one before is closed. */
  async serveBy(server: MetricsServer | undefined): Promise<void> {
    const before = this.#server;
    this.#server = server;
    await before?.[Symbol.asyncDispose]();
  }

  /** The current text of all series. */
  async text(): Promise<string> {
    await this.#process.refresh();
    return this.registry.text();
  }

  /** Measures a daemon that is built and has not recovered yet. */
  watch(built: Measured): void {
    this.#measured = built;
    const { sandboxes, containers } = built.cri;
    sandboxes.operations.observe(this.#operations);
    containers.store.listen(this.#exits.changed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#process[Symbol.dispose]();
  }
}

function addressOf(listen: string, gid: number | undefined): MetricsAddress {
  const address = parseListenAddress(listen);
  if (address === undefined) {
    throw new RuntimeError("invalid-argument", `"${listen}" is neither HOST:PORT nor a path`);
  }
  if (!("path" in address)) return address;
  return { path: address.path, mode: 0o660, ...(gid === undefined ? {} : { gid }) };
}

function listenError(listen: string, cause: unknown): RuntimeError {
  const isInUse = cause instanceof Error && "code" in cause && cause.code === "EADDRINUSE";
  if (!isInUse) return wrap(`serve metrics.listen = "${listen}"`, cause);
  const todo = "stop the process that uses this address, or set another one";
  const message = `serve metrics.listen = "${listen}": ${messageOf(cause)}; ${todo}`;
  return new RuntimeError("failed-precondition", message, { cause });
}
