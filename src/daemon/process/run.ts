import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { systemClock } from "../../base/time.ts";
import type { Config } from "../../config/config.ts";
import { gidOf } from "../../config/group.ts";
import type { SandboxController } from "../../core/sandbox/index.ts";
import { type CriContext, criMethods, toStatus } from "../../cri/index.ts";
import type { FileLock } from "../../linux/file/index.ts";
import { notifyService } from "../../linux/host/index.ts";
import { peerOf } from "../../linux/stream/index.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { GrpcServer } from "../../wire/grpc/server.ts";
import type { CallObserver } from "../../wire/grpc/call.ts";
import { StartupGate } from "./startup-gate.ts";
import type { Built, ControllerParts } from "../build/build.ts";
import { CallLog, isEventStream } from "./call-log.ts";
import { Calls } from "./calls.ts";
import { takeDirectory } from "./directory-lock.ts";
import { faultsFromEnvironment } from "./faults.ts";
import { LiveConfig } from "./live-config.ts";
import { LiveMetrics } from "./live-metrics.ts";
import { LiveTracing } from "./live-tracing.ts";
import { type LogSink, openLog } from "./log.ts";
import { type CompiledCode, IdleMaintenance } from "../tuning/idle-maintenance.ts";
import { type Tuning, tuningOf } from "../tuning/tuning.ts";
import { ServiceManager } from "./service-manager.ts";

// When the daemon stops, running calls get this long to end; kubelet repeats the others.
const graceMs = 5_000;
// A call that comes before the daemon is ready waits for it, until this long after the socket was opened.
const earlyCallMs = 2_000;

/** A running daemon. */
export interface Daemon {
  /** Path of its socket. */
  readonly socket: string;
  /** Resolves when recovery has ended; rejects when the records cannot be read. */
  readonly ready: Promise<void>;
  /** Resolves when the daemon has stopped; rejects when it stopped because recovery failed. */
  readonly closed: Promise<void>;
  /** Stops the daemon. Pods keep running. `cause` is for the log, for example the signal. */
  close(cause?: string): Promise<void>;
  /** Reloads the configuration when the daemon is ready; see LiveConfig. `cause` is for the log. Never rejects. */
  reload(cause: string): Promise<void>;
}

/** What a daemon can be given besides its configuration. */
export interface DaemonOptions {
  readonly version: string;
  /** Reads the configuration again, for a reload. By default there is nothing to read. */
  readonly readConfig?: () => Config;
  /** Makes additional controllers; one with the name of a built-in one replaces it. */
  readonly controllers?: (parts: ControllerParts) => readonly SandboxController[];
  readonly bootId?: string;
  readonly log?: Logger;
  /** The code that this start compiled; absent where it cannot be kept. */
  readonly compiledCode?: CompiledCode;
}

/**
 * Starts a daemon: locks root and state, opens the socket at once, builds its parts, restores what the
 * last daemon left, and is ready then. Until then only Version is answered; other calls wait during the
 * first 2 s and fail with `unavailable` after that.
 *
 * `failed-precondition` when another daemon uses the same root, state or socket.
 */
export async function runDaemon(config: Config, options: DaemonOptions): Promise<Daemon> {
  await using undo = new AsyncDisposableStack();
  const live = new LiveConfig(config);
  const log = options.log ?? openLog(stderrSink(), () => live.value.log.level);
  const { env, pid } = process;
  const service = undo.use(new ServiceManager({ env, pid, send: notifyService, log }));
  const { version } = options;
  const root = await takeDirectories(config, undo, { version, log });

  // Closed last: it records the operations of the parts.
  const traces = undo.use(new AsyncDisposableStack());
  // They are closed after the server, whose calls use them.
  const parts = undo.use(new AsyncDisposableStack());
  const calls = new Calls(() => systemClock.nowMs());
  const observers: CallObserver[] = [];
  const callLog = new CallLog(log);
  const isBusy = (): boolean => calls.size > 0;
  const tuning = tuningOf(config.tuning);
  tuning.preferEventLoop();
  const idle = undo.use(
    new IdleMaintenance({ log, isBusy, tuning, compiledCode: options.compiledCode }),
  );
  const cri = new StartupGate<CriContext>(earlyCallMs);
  const serving = { version, tuning, cri, calls, callLog, observers, idle, log };
  const { server, methods } = serverOf(config, serving);
  const gid = config.server.group === "" ? undefined : gidOf(config.server.group);
  await listen(server, config.server.listen, { gid, version });
  undo.defer(() => server.stop(graceMs));
  undo.use(cri);
  const metrics = undo.use(await LiveMetrics.open(config, { version, calls, server, gid, log }));
  observers.push(metrics.callEnded);
  const lastRun = root.last === "ended" ? "ended without a stop" : "stopped";
  log.info("serving", {
    ...{ socket: config.server.listen, version, pid },
    ...(root.last === undefined ? {} : { lastRun }),
  });
  service.starting("restoring what the last run left");
  const traced = { version, callLog, log, methods };
  const tracing = traces.use(await LiveTracing.open(config.tracing, traced));
  live.add(metrics, tracing);

  // For tests, see CONTRIBUTING.md: faults at named points, and the id of another boot.
  const bootId = options.bootId ?? process.env["DAVIT_BOOT_ID"];
  // Its code is loaded only now, so that the socket does not wait for it.
  const { build } = await import("../build/build.ts");
  const reloads = reloadsOf(live, options, service, log);
  const built: Built = await build({
    ...options,
    ...(bootId === undefined ? {} : { bootId }),
    log,
    faults: faultsFromEnvironment(process.env["DAVIT_FAULTS"]),
    tuning,
    calls: () => calls.views(),
    live,
    reload: reloads,
    metrics: () => metrics.current,
  });
  parts.use(built);
  const { operations } = built.cri.sandboxes;
  tracing.watch(operations);
  metrics.watch(built);
  const recovered = built.recover().then(() => {
    cri.open(built.cri);
    idle.begin();
    const sandboxes = [...built.cri.sandboxes.store.listed()].length;
    service.ready(statusOf(config));
    log.info("ready", { sandboxes });
  });
  recovered.catch((error: unknown) => {
    log.error(`failed to restore the last run: ${messageOf(error)}`);
  });
  const beginEnd = (cause: string): void => {
    log.info("stopping", { cause, pid });
    service.stopping();
    const reason = new RuntimeError("unavailable", "davit is shutting down");
    endCalls(built.cri, reason);
  };
  const ended = (): void => {
    log.info("stopped", { pid });
  };
  const daemon = asDaemon(config.server.listen, recovered, { beginEnd, ended }, undo.move());
  return { ...daemon, reload: reloadWhen(recovered, reloads) };
}

/** Ends the calls that would last longer than the daemon. */
function endCalls(cri: CriContext, reason: RuntimeError): void {
  // Before the operations: a client whose call fails may end, and its pods stay.
  cri.leases.close(reason);
  cri.sandboxes.operations.abortAll(reason);
  cri.events.close(reason);
  cri.nodeEvents.close(reason);
  cri.containers.logs.close(reason);
}

/** Reloads once the daemon is ready; never, if it does not become so. */
function reloadWhen(recovered: Promise<void>, reloads: CriContext["reload"]): Daemon["reload"] {
  const isReady = recovered.then(() => true).catch(() => false);
  return async (cause) => {
    if (await isReady) await reloads({ cause });
  };
}

/** Opens the CRI socket. If another process serves it, the error names that process and its version. */
async function listen(
  server: GrpcServer,
  path: string,
  { gid, version }: { readonly gid: number | undefined; readonly version: string },
): Promise<void> {
  try {
    await server.listen(path, { mode: 0o660, ...(gid === undefined ? {} : { gid }) });
  } catch (error) {
    if (!isKind(error, "failed-precondition")) throw error;
    const { socketInUse } = await import("./socket-in-use.ts");
    throw await socketInUse(path, version, error);
  }
}

/** What the service manager shows of a daemon that is ready. */
function statusOf({ server }: Config): string {
  return `serving ${server.listen}`;
}

/** Reloads the configuration, and tells the service manager. */
function reloadsOf(
  live: LiveConfig,
  { readConfig }: DaemonOptions,
  service: ServiceManager,
  log: Logger,
): CriContext["reload"] {
  const status = statusOf(live.value);
  const started = live.value;
  const deps = {
    log,
    read: readConfig ?? (() => started),
    reloading: (isReloading: boolean) => {
      if (isReloading) service.reloading();
      else service.ready(status);
    },
  };
  return (by) => live.reload(by, deps);
}

/** The gRPC server of both CRI services, which counts and logs its calls, and its methods by their paths. */
function serverOf(
  { server }: Config,
  parts: {
    readonly version: string;
    readonly tuning: Tuning;
    readonly cri: StartupGate<CriContext>;
    readonly calls: Calls;
    readonly callLog: CallLog;
    readonly observers: readonly CallObserver[];
    readonly idle: IdleMaintenance;
    readonly log: Logger;
  },
): { readonly server: GrpcServer; readonly methods: Map<string, Method> } {
  const { version, tuning, cri, calls, callLog, observers, idle, log } = parts;
  const methods = new Map(
    criMethods({
      version,
      context: () => cri.value,
      soon: () => cri.settled,
      note: (call, fields) => {
        callLog.note(call, fields);
      },
    }),
  );
  const grpc = new GrpcServer({
    methods,
    maxMessageBytes: server.maxMessageBytes,
    callBudgetMs: tuning.callBudgetMs,
    toStatus,
    peerOf,
    logger: log,
    onCall: (call) => {
      // A stream of events is open for as long as its client runs; nobody waits for its end.
      const ended = isEventStream(call) ? undefined : calls.begin(call);
      return (end) => {
        ended?.();
        callLog.ended(call, end);
        for (const observer of observers) observer(call, end);
        idle.worked();
      };
    },
  });
  return { server: grpc, methods };
}

function asDaemon(
  socket: string,
  ready: Promise<void>,
  on: { readonly beginEnd: (cause: string) => void; readonly ended: () => void },
  parts: AsyncDisposableStack,
): Omit<Daemon, "reload"> {
  const { promise: closed, resolve, reject } = Promise.withResolvers<undefined>();
  // A caller need not wait for the end.
  closed.catch(() => undefined);
  let closing: Promise<void> | undefined;
  const close = async (cause: string): Promise<void> => {
    // Running operations are cancelled and undone; closing the parts waits for that.
    on.beginEnd(cause);
    await ready.catch(() => undefined);
    await parts.disposeAsync();
    on.ended();
  };
  ready.catch((error: unknown) => {
    if (closing !== undefined) return;
    // Serving only Unavailable would help nobody: the service manager can start davit again.
    closing = close("recovery failed");
    closing.then(() => {
      reject(error);
    }, reject);
  });
  return {
    socket,
    ready,
    closed,
    close: (cause = "requested") => {
      closing ??= close(cause).finally(() => {
        resolve(undefined);
      });
      return closing;
    },
  };
}

/** Takes all directories of the configuration; returns the lock of root. */
async function takeDirectories(
  { root, state, writableRoot }: Config,
  undo: AsyncDisposableStack,
  { version, log }: { readonly version: string; readonly log: Logger },
): Promise<Pick<FileLock, "last">> {
  const take = async (key: "root" | "state" | "writable_root", directory: string) =>
    undo.use(await takeDirectory({ key, directory, version }, log));
  const lock = await take("root", root);
  await take("state", state);
  if (writableRoot !== "") await take("writable_root", writableRoot);
  return lock;
}

/** stderr; the daemon survives the end of its reader (EPIPE). */
function stderrSink(): LogSink {
  process.stderr.removeListener("error", ignoreLostLog);
  process.stderr.on("error", ignoreLostLog);
  return process.stderr;
}

function ignoreLostLog(): void {
  // There is no other place to log it.
}
