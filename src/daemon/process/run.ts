import { existsSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isKind, kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { systemClock } from "../../base/time.ts";
import type { Config } from "../../config/config.ts";
import { gidOf } from "../../config/group.ts";
import type { SandboxController } from "../../core/sandbox/index.ts";
import { type CriContext, criMethods, toStatus } from "../../cri/index.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { lockFile } from "../../linux/file/index.ts";
import { notifyService } from "../../linux/host/index.ts";
import { GrpcServer } from "../../wire/grpc/server.ts";
import { StartupGate } from "./startup-gate.ts";
import type { Built, ControllerParts } from "../build/build.ts";
import { CallLog } from "./call-log.ts";
import { Calls } from "./calls.ts";
import { faultsFromEnvironment } from "./faults.ts";
import { LiveConfig } from "./live-config.ts";
import { type LogSink, openLog } from "./log.ts";
import { IdleMaintenance } from "../tuning/idle-maintenance.ts";
import { ServiceManager } from "./service-manager.ts";

// Calls under way get this long to end when the daemon is told to; kubelet repeats the others.
const graceMs = 5_000;
// A call that comes before the daemon is ready waits for it, until so long after the socket is there.
const earlyCallMs = 2_000;

/** A daemon that serves. */
export interface Daemon {
  /** Path of the socket that it serves. */
  readonly socket: string;
  /** Resolves when recovery is through; rejects when the records cannot be read. */
  readonly ready: Promise<void>;
  /** Resolves when the daemon has ended; rejects when it ended because `ready` did. */
  readonly closed: Promise<void>;
  /** Ends the daemon. The pods go on. `cause` is for the log: the signal that asked for it, say. */
  close(cause?: string): Promise<void>;
  /** Reads the configuration again and uses what can change; see LiveConfig. Never throws. */
  reload(read: () => Config): void;
}

/** What a daemon can be given besides its configuration. */
export interface DaemonOptions {
  readonly version: string;
  /** Makes controllers beside those of davit's own; one of the same name takes its place. */
  readonly controllers?: (parts: ControllerParts) => readonly SandboxController[];
  readonly bootId?: string;
  readonly log?: Logger;
  /** Called once, when the start is over: for what can be done to make the next one quicker. */
  readonly atRest?: () => Promise<void>;
}

/**
 * Starts a daemon: locks root and state, serves the socket at once, puts its parts together, takes up
 * what the last daemon left, and is ready then. Until then only Version is answered; other calls wait for it in
 * the first 2 s, and are told `unavailable` after that.
 *
 * `failed-precondition` when another daemon has the same root or state, or serves the socket.
 */
export async function runDaemon(config: Config, options: DaemonOptions): Promise<Daemon> {
  await using undo = new AsyncDisposableStack();
  const live = new LiveConfig(config);
  const log = options.log ?? openLog(stderrSink(), () => live.value.log.level);
  const { env, pid } = process;
  const service = undo.use(new ServiceManager({ env, pid, send: notifyService, log }));
  for (const key of ["root", "state"] as const) {
    undo.use(await takeDirectory(key, config[key], log));
  }

  // They end after the server, whose calls use them.
  const parts = undo.use(new AsyncDisposableStack());
  const calls = new Calls(() => systemClock.nowMs());
  const callLog = new CallLog(log);
  const isBusy = (): boolean => calls.size > 0;
  const rest = undo.use(new IdleMaintenance({ log, isBusy, atRest: options.atRest }));
  const cri = new StartupGate<CriContext>(earlyCallMs);
  const server = new GrpcServer({
    methods: criMethods({
      version: options.version,
      context: () => cri.value,
      soon: () => cri.settled,
      note: (call, facts) => {
        callLog.note(call, facts);
      },
    }),
    maxMessageBytes: config.server.maxMessageBytes,
    toStatus,
    logger: log,
    onCall: (call) => {
      const ended = calls.begin(call);
      return (end) => {
        ended();
        callLog.ended(call, end);
        rest.worked();
      };
    },
  });
  const gid = config.server.group === "" ? undefined : gidOf(config.server.group);
  await server.listen(config.server.listen, { mode: 0o660, ...(gid === undefined ? {} : { gid }) });
  undo.defer(() => server.stop(graceMs));
  undo.use(cri);
  log.info("serving", { socket: config.server.listen, version: options.version, pid });
  service.starting("taking up what the last run left");

  // Two doors for tests, said in CONTRIBUTING.md: faults at named points, and another boot's id.
  const bootId = options.bootId ?? process.env["DAVIT_BOOT_ID"];
  // Its code is only read now: the socket does not wait for it.
  const { build } = await import("../build/build.ts");
  const built: Built = await build(config, {
    ...options,
    ...(bootId === undefined ? {} : { bootId }),
    log,
    faults: faultsFromEnvironment(process.env["DAVIT_FAULTS"]),
    calls: () => calls.views(),
    config: () => live.value,
  });
  parts.use(built);
  const recovered = built.recover().then(() => {
    cri.open(built.cri);
    rest.begin();
    const sandboxes = [...built.cri.sandboxes.store.listed()].length;
    service.ready(`serving ${config.server.listen}`);
    log.info("ready", { sandboxes });
  });
  recovered.catch((error: unknown) => {
    log.error(`cannot take up the last run: ${messageOf(error)}`);
  });
  const { operations } = built.cri.sandboxes;
  const beginEnd = (cause: string): void => {
    log.info("stopping", { cause, pid });
    service.stopping();
    operations.abortAll(new RuntimeError("unavailable", "davit is shutting down"));
  };
  const ended = (): void => {
    log.info("stopped", { pid });
  };
  const daemon = asDaemon(config.server.listen, recovered, { beginEnd, ended }, undo.move());
  return { ...daemon, reload: (read) => live.reload(read, log) };
}

function asDaemon(
  socket: string,
  ready: Promise<void>,
  tell: { readonly beginEnd: (cause: string) => void; readonly ended: () => void },
  parts: AsyncDisposableStack,
): Omit<Daemon, "reload"> {
  const { promise: closed, resolve, reject } = Promise.withResolvers<undefined>();
  // Not everybody who has a daemon waits for its end.
  closed.catch(() => undefined);
  let closing: Promise<void> | undefined;
  const close = async (cause: string): Promise<void> => {
    // What builds something is told to undo it, and gets its time for that as the parts end.
    tell.beginEnd(cause);
    await ready.catch(() => undefined);
    await parts.disposeAsync();
    tell.ended();
  };
  ready.catch((error: unknown) => {
    if (closing !== undefined) return;
    // Serving nothing but Unavailable helps nobody: who started it can start it again.
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

/** Makes a directory of the configuration ours; an error says which key can name another one. */
async function takeDirectory(
  key: "root" | "state",
  directory: string,
  log: Logger,
): Promise<Disposable> {
  try {
    await makeDirectory(directory);
    return takeLock(directory);
  } catch (error) {
    if (isKind(error, "failed-precondition")) throw error;
    if (key === "root" && errnoCode(error) === "EROFS" && existsSync(directory)) {
      // What runs must be served all the same; the state's lock keeps a second daemon out.
      const advice = "nothing new can be made until it can be written: mount it read-write";
      log.error(`the disk of root "${directory}" is read-only; ${advice}`);
      return { [Symbol.dispose]: () => undefined };
    }
    const todo = isKind(error, "resource-exhausted") ? "make room there" : "make it writable";
    throw new RuntimeError(
      kindOf(error),
      `use directory "${directory}": ${messageOf(error)}; ${todo}, or set ${key} to another directory in the configuration`,
      { cause: error },
    );
  }
}

/** stderr; its reader may go away (EPIPE) without taking the daemon along. */
function stderrSink(): LogSink {
  process.stderr.removeListener("error", ignoreLostLog);
  process.stderr.on("error", ignoreLostLog);
  return process.stderr;
}

function ignoreLostLog(): void {
  // There is nowhere left to tell it.
}

/** Like mkdir -p, a step at a time: Node's own recursion never returns below /proc (Node 24). */
async function makeDirectory(directory: string): Promise<void> {
  if (existsSync(directory)) return;
  const steps = directory.split("/").filter((step) => step !== "");
  for (let depth = 1; depth <= steps.length; depth++) {
    const path = `/${steps.slice(0, depth).join("/")}`;
    try {
      await mkdir(path, { mode: 0o711 });
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw systemError(`make directory "${path}"`, error);
    }
  }
}

function takeLock(directory: string): Disposable {
  const path = join(directory, "davit.lock");
  const lock = lockFile(path);
  if (lock !== undefined) return lock;
  const holder = lockHolder(path);
  throw new RuntimeError(
    "failed-precondition",
    `start davit: another davit daemon${holder === "" ? "" : `, process ${holder},`} uses "${directory}" (it holds the lock ${path}); stop that one, or give this one a root and a state of its own`,
  );
}

/** The pid in a lock file; empty where a full disk kept the holder from writing it. */
function lockHolder(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
