import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { SingleFlight } from "../../base/single-flight.ts";
import type { Clock } from "../../base/time.ts";
import { beforeAbort, within } from "../../base/wait.ts";
import type {
  AttachedClient,
  ContainerBundle,
  ContainerCaptures,
  ContainerExit,
  ContainerLimits,
  ContainerRuntime,
  ExecResult,
  ProcessClient,
  StartedContainer,
  UsageReader,
} from "../../core/container/index.ts";
import { parseSpec } from "../../oci-spec/index.ts";
import type { OciProcess, OciSpec } from "../../core/oci/index.ts";
import type { Operation, StepObserver } from "../../core/operation/index.ts";
import type { ProcessIdentity } from "../../core/sandbox/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import type { ExecEnd } from "../../core/streaming/index.ts";
import { type CgroupLayout, killCgroup } from "../../linux/cgroup/index.ts";
import {
  type Child,
  type ProcessRef,
  processStartTime,
  SIGKILL,
} from "../../linux/process/index.ts";
import { explainEnd } from "../../stdio/exec-session.ts";
import { readBundleSpec } from "./bundle.ts";
import type { ContainerMonitor, MonitorName } from "./container-monitor.ts";
import { Execs } from "./exec/execs.ts";
import { mountExitTmpfs, unmountExitTmpfs } from "./exits.ts";
import { CgroupFreezer, resumeIfFrozen } from "./freezer.ts";
import { Monitors } from "./monitors.ts";
import { ContainerCleanup, verbMs } from "./recovery/cleanup.ts";
import { findRun, openRecorded } from "./recovery/find-run.ts";
import {
  endCaptures,
  endCommands,
  endOrphans,
  findOrphans,
  idOfExitFile,
  removePartialExits,
} from "./recovery/orphans.ts";
import { programPath } from "./runtime-command.ts";
import { type RuntimeState, readRuntimeState } from "./runtime-state.ts";
import { startProcess } from "./start.ts";
import { StateLayout } from "./state-layout.ts";
import { TrackedContainer } from "./tracked-container.ts";
import { updateLimits } from "./update.ts";

interface Deps {
  /** The state directory of the configuration. */
  readonly state: string;
  readonly cgroups: CgroupLayout;
  /** Called when a process will be moved into a cgroup, until `isOver`; does nothing if not given. */
  readonly expectMigration?: (isOver: () => boolean) => void;
  readonly onStep?: StepObserver;
  readonly usage?: UsageReader;
  readonly clock: Clock;
  readonly log: Logger;
  /** What monitors the containers that this davit starts; the default is "davit". */
  readonly monitor?: MonitorName;
  /** Path or name of conmon; the default is "conmon". */
  readonly conmonPath?: string;
  /** The size at which the log of a new container is emptied, in bytes; the default is 0, never. */
  readonly logSizeMax?: number;
  /** See ExecsDeps; the default is "davit". */
  readonly exec?: "davit" | "runtime";
  /** See LogDirectoryOptions. */
  readonly logRoots?: readonly string[];
}

/**
 * Runs containers by a monitor and an OCI runtime (crun, runc).
 *
 * A container's monitor and its processes outlive the daemon. Memory holds only how they are watched;
 * everything that is needed to end and remove them follows from the id, the bundle and /proc.
 */
export class OciRuntime implements ContainerRuntime {
  readonly freezer: CgroupFreezer;
  readonly captures: ContainerCaptures = {
    capture: async (id, request, operation) => {
      const container = this.#get(id, "capture");
      const { captureProcesses } = await import("./checkpoint/capture.ts");
      const deps = { ...this.#deps, paths: this.#paths };
      await captureProcesses(deps, container, request, operation);
    },
    obstacle: () => undefined,
    ociRuntimeOf: ({ path, name }) => path ?? name,
  };
  readonly #deps: Deps;
  readonly #paths: StateLayout;
  readonly #cleanup: ContainerCleanup;
  readonly #containers = new Map<string, TrackedContainer>();
  readonly #execs: Execs;
  readonly #monitors: Monitors;
  readonly #kills = new SingleFlight();
  /** Monitors of an earlier daemon by container. Those of containers that nobody loads are ended by remove(). */
  readonly #earlierMonitors: Map<string, readonly ProcessIdentity[]>;

  private constructor(
    deps: Deps,
    paths: StateLayout,
    monitors: Monitors,
    earlierMonitors: Map<string, readonly ProcessIdentity[]>,
  ) {
    this.#deps = deps;
    this.#monitors = monitors;
    this.#paths = paths;
    this.#cleanup = new ContainerCleanup(deps, paths);
    this.#execs = new Execs(deps, paths);
    this.freezer = new CgroupFreezer(deps.cgroups, (id) => this.#containers.get(id));
    this.#earlierMonitors = earlierMonitors;
  }

  /** Creates the directories of the state, and ends the ExecSync commands and captures of an earlier daemon. */
  static async open(deps: Deps): Promise<OciRuntime> {
    const paths = new StateLayout(deps.state);
    for (const directory of [paths.containers, paths.exits, paths.execs, paths.consoles]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    await mountExitTmpfs(paths, deps.log);
    const { monitors, execs, captures } = await findOrphans(paths);
    await endCaptures(captures, deps.log);
    // The runtimes first: one of them may be about to write the pid file of its command.
    await endOrphans(execs);
    await endCommands(paths.execs);
    const { conmonPath = "conmon", logSizeMax = 0 } = deps;
    const programs = new Monitors({ ...deps, conmonPath, logSizeMax });
    programs.warnWithout(deps.monitor ?? "davit");
    await removePartialExits(paths.exits, monitors);
    return new OciRuntime(deps, paths, programs, monitors);
  }

  async start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer> {
    const { id } = bundle;
    if (this.#containers.has(id)) {
      throw new RuntimeError("already-exists", `start container "${id}": it was started already`);
    }
    const { cgroupPath } = bundle;
    const { monitor: name = "davit" } = this.#deps;
    const state = {
      runtimePath: programPath(bundle.runtimePath),
      cgroupPath,
      ...(name === "davit" && { monitor: name }),
      ...(await this.#cleanup.oomKillsBefore(cgroupPath)),
    };
    const { monitor, process, startedAtNs } = await startProcess(
      {
        ...this.#deps,
        paths: this.#paths,
        cleanup: this.#cleanup,
        monitor: await this.#monitors.of(name),
      },
      bundle,
      state,
      operation,
    );
    this.#track(id, state, { process, monitor });
    return {
      process: { pid: process.pid, startTime: String(process.startTime) },
      monitor: identityOf(monitor),
      startedAtNs,
    };
  }

  async wait(id: string, signal: AbortSignal): Promise<ContainerExit> {
    return beforeAbort(this.#get(id, "wait for").exit, signal);
  }

  async load(
    id: string,
    started: {
      readonly runtimePath: string;
      readonly process: ProcessIdentity;
      readonly monitor: ProcessIdentity | undefined;
      readonly cgroupPath: string;
    },
  ): Promise<void> {
    if (this.#containers.has(id)) return;
    const { cgroupPath } = started;
    const [process, monitor] = [openRecorded(started.process), openRecorded(started.monitor)];
    // OOM kills that the slice has counted by now belong to others if the container still runs; if it has ended,
    // one of them may be its own.
    const before =
      process === undefined
        ? await readRuntimeState(this.#paths.file(id, "facts.json")).catch(() => undefined)
        : await this.#cleanup.oomKillsBefore(cgroupPath);
    // The end of a container is reported even if its runtime is not installed any more.
    const state = { ...before, runtimePath: pathOrName(started.runtimePath), cgroupPath };
    this.#track(id, state, { process, monitor });
  }

  async spec(id: string): Promise<OciSpec | undefined> {
    const text = await readBundleSpec(this.#paths, id);
    return text === undefined ? undefined : parseSpec(text);
  }

  async loadUnrecorded(id: string): Promise<StartedContainer | undefined> {
    const state = await this.#state(id);
    const monitor = this.#earlierMonitors.get(id)?.[0];
    const run = state && (await findRun({ id, state, monitor, paths: this.#paths }));
    if (state === undefined || run === undefined) {
      await this.remove(id);
      return undefined;
    }
    const { process, started } = run;
    this.#track(id, state, { process, monitor: openRecorded(monitor) });
    return started;
  }

  async kill(id: string, signalNumber: number): Promise<void> {
    const { process, state } = this.#get(id, "signal");
    process?.kill(signalNumber);
    await resumeIfFrozen(this.#deps, id, state.cgroupPath);
  }

  async killAll(id: string): Promise<void> {
    const container = this.#containers.get(id);
    if (container !== undefined) container.killed = true;
    const state = await this.#state(id);
    if (state !== undefined) {
      const { cgroupPath } = state;
      // Clients repeat a stop that fails: their kills must not run at the same time.
      await this.#kills.do(cgroupPath, () => killCgroup(this.#deps.cgroups, cgroupPath));
    }
    // The process may have been moved out of its cgroup. Its PID namespace ends with it.
    container?.process?.kill(SIGKILL);
  }

  async execSync(id: string, spec: OciProcess, operation: Operation): Promise<ExecResult> {
    return this.#execs.sync(this.#get(id, "run command in"), spec, operation);
  }

  async exec(
    id: string,
    spec: OciProcess,
    client: ProcessClient,
    operation: Operation,
  ): Promise<ExecEnd> {
    return this.#execs.stream(this.#get(id, "run command in"), { spec, client }, operation);
  }

  async attach(id: string, client: AttachedClient, operation: Operation): Promise<void> {
    const { monitor, exit, ended: processEnded } = this.#get(id, "attach to");
    if (monitor === undefined) {
      const text = `attach to container "${id}": its monitor, which had its streams, has ended; read its log`;
      throw new RuntimeError("failed-precondition", text);
    }
    const program = await this.#monitorOf(id);
    const { pid: monitorPid } = monitor;
    const target = { id, paths: this.#paths, monitorPid, processEnded, ended: exit };
    await program.attach(target, client, operation);
  }

  async update(
    id: string,
    limits: ContainerLimits,
    signal: AbortSignal,
  ): Promise<() => Promise<void>> {
    const container = this.#get(id, "update");
    const { state } = container;
    const { cgroups, log } = this.#deps;
    const callRuntime = (input: string): Promise<void> =>
      this.#cleanup.call(state, ["update", "--resources", "-", id], { input, signal });
    return explainEnd(container, `update resources of container "${id}"`, () =>
      updateLimits({ cgroups, log, callRuntime }, state.cgroupPath, limits),
    );
  }

  async reopenLog(
    id: string,
    logPath: string,
    operation?: Pick<Operation, "enter">,
  ): Promise<void> {
    const { monitor } = this.#get(id, "reopen log of");
    if (monitor === undefined) {
      throw new RuntimeError(
        "failed-precondition",
        `reopen log of container "${id}": its monitor has ended, so nothing is logged any more`,
      );
    }
    const { logRoots: linkedRoots = [] } = this.#deps;
    const program = await this.#monitorOf(id);
    const target = { id, paths: this.#paths, monitorPid: monitor.pid, logPath, linkedRoots };
    await program.reopenLog({ ...target, operation });
  }

  async completeRotation(id: string): Promise<boolean> {
    const container = this.#containers.get(id);
    return container !== undefined && this.#completeRotation(id, container.monitor?.pid);
  }

  /** `monitorPid` is undefined when the monitor has ended. Its code is loaded where there is something to complete. */
  async #completeRotation(id: string, monitorPid?: number): Promise<boolean> {
    if (!existsSync(this.#paths.file(id, "rotation"))) return false;
    const { completeRotation } = await import("./rotation.ts");
    const { logRoots: linkedRoots = [] } = this.#deps;
    return completeRotation({ id, paths: this.#paths, monitorPid, linkedRoots });
  }

  async remove(id: string, operation?: Pick<Operation, "enter">): Promise<void> {
    const container = this.#containers.get(id);
    if (container === undefined) await endOrphans(this.#earlierMonitors.get(id) ?? []);
    if ((await container?.deleted) !== true) {
      const state = await this.#state(id);
      if (state !== undefined) await this.#cleanup.destroy(id, state, verbMs);
      // The files of the monitor and of the runtime must not be removed while these use them.
      if (container !== undefined) await within(container.exit, verbMs);
      if (container?.deleted !== undefined) await within(container.deleted, verbMs);
    }
    await operation?.enter("remove-files");
    await this.#cleanup.removeFiles(id);
    this.#containers.delete(id);
    this.#earlierMonitors.delete(id);
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    const { containers, exits } = this.#paths;
    const ids = [
      ...(await readdir(containers)),
      ...(await readdir(exits)).map(idOfExitFile),
      ...this.#earlierMonitors.keys(),
    ];
    return [...new Set(ids)].filter((id) => !known.has(id));
  }

  /** Stops watching all containers, which continue without this daemon. */
  async close(): Promise<void> {
    await this.#monitors.close();
    for (const container of this.#containers.values()) container.release();
    await unmountExitTmpfs(this.#paths);
  }

  #track(
    id: string,
    state: RuntimeState,
    running: {
      readonly process: ProcessRef | undefined;
      readonly monitor: ProcessRef | Child | undefined;
    },
  ): void {
    const deps = { ...this.#deps, cleanup: this.#cleanup };
    const tracked = {
      ...{ id, state, ...running },
      exitFile: this.#paths.exit(id),
      capturedFile: this.#paths.file(id, "captured"),
      completeLog: () => this.#completeRotation(id),
    };
    this.#containers.set(id, new TrackedContainer(deps, tracked));
  }

  async #state(id: string): Promise<RuntimeState | undefined> {
    return this.#containers.get(id)?.state ?? readRuntimeState(this.#paths.file(id, "facts.json"));
  }

  /** That of the container, which an earlier davit may have started. */
  async #monitorOf(id: string): Promise<ContainerMonitor> {
    const state = await readRuntimeState(this.#paths.file(id, "facts.json"));
    return this.#monitors.of(state?.monitor ?? "conmon");
  }

  #get(id: string, doing: string): TrackedContainer {
    const container = this.#containers.get(id);
    if (container !== undefined) return container;
    throw new RuntimeError("not-found", `${doing} container "${id}": it is not running here`);
  }
}

/** Undefined for a process that has ended. */
function identityOf({ pid }: Child): ProcessIdentity | undefined {
  const startTime = processStartTime(pid);
  return startTime === undefined ? undefined : { pid, startTime: String(startTime) };
}

function pathOrName(program: string): string {
  try {
    return programPath(program);
  } catch {
    return program;
  }
}
