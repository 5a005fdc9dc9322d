import { writeFileSync } from "node:fs";
import { type FileHandle, mkdir, readdir, readFile } from "node:fs/promises";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { beforeAbort } from "../../base/wait.ts";
import { SingleFlight } from "../../base/single-flight.ts";
import type { Clock } from "../../base/time.ts";
import type {
  AttachedClient,
  ContainerBundle,
  ContainerExit,
  ContainerLimits,
  ContainerRuntime,
  ExecResult,
  ProcessClient,
  StartedContainer,
} from "../../core/container/index.ts";
import { parseSpec } from "../../oci-spec/index.ts";
import type { OciProcess, OciSpec } from "../../core/oci/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { ProcessIdentity } from "../../core/sandbox/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import type { ExecEnd } from "../../core/streaming/index.ts";
import { type CgroupLayout, isFrozen, killCgroup, thawCgroup } from "../../linux/cgroup/index.ts";
import {
  type Child,
  openProcess,
  type ProcessRef,
  processStartTime,
} from "../../linux/process/index.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { attach, IdleAttachments } from "./conmon/attach.ts";
import { writeBundle } from "./bundle.ts";
import { awaitEnd, type Watched, within } from "./container-end.ts";
import { endTree } from "./end-tree.ts";
import { type ExecContainer, Execs, explainEnd } from "./exec/execs.ts";
import { unmountExitTmpfs, mountExitTmpfs } from "./conmon/exits.ts";
import { type RuntimeState, readRuntimeState } from "./runtime-state.ts";
import { startMonitor, warnWithoutMonitor } from "./conmon/monitor.ts";
import { StateLayout } from "./state-layout.ts";
import { findRun, found, sharesHostPids } from "./recovery/find-run.ts";
import { ContainerCleanup, verbMs } from "./recovery/cleanup.ts";
import { reopenLog } from "./conmon/reopen-log.ts";
import { programPath } from "./runtime-command.ts";
import { updateLimits } from "./update.ts";
import {
  endCommands,
  endOrphans,
  findOrphans,
  idOfExitFile,
  removeUnfinished,
} from "./recovery/orphans.ts";

interface Deps {
  /** The state directory of the configuration. */
  readonly state: string;
  readonly cgroups: CgroupLayout;
  readonly clock: Clock;
  readonly log: Logger;
  /** conmon if not given. */
  readonly conmonPath?: string;
  /** See LogDirectoryOptions. */
  readonly logRoots?: readonly string[];
}

/** A container that this daemon has started or taken up. */
interface Kept extends ExecContainer {
  /** Undefined: ended before the container was taken up. */
  readonly monitor: Watched | undefined;
  readonly exit: Promise<ContainerExit>;
  /**
   * Set when no process is left: true when nothing but files is. Nobody who waits for the end waits
   * for this, too: it is the OCI runtime's own record, which takes a process to remove.
   */
  cleared: Promise<boolean> | undefined;
  killed: boolean;
  /** Lets go of what is watched. */
  release(): void;
}

const SIGKILL = 9;
/** How long each part of an undoing may take, so that all of it stays below 5 s. */
const undoMs = 1_500;

/**
 * Runs containers by conmon and an OCI runtime (crun, runc).
 *
 * A container's conmon and its processes outlive the daemon. What is in memory here is only how
 * they are watched; everything that ending and removing them needs follows from the id, the bundle
 * and /proc.
 */
export class OciRuntime implements ContainerRuntime {
  readonly #deps: Deps;
  readonly #places: StateLayout;
  readonly #remains: ContainerCleanup;
  readonly #kept = new Map<string, Kept>();
  readonly #execs: Execs;
  readonly #idle = new IdleAttachments();
  readonly #killing = new SingleFlight();
  /** conmons that were there before us, for containers that nobody loads. */
  readonly #earlier: Map<string, readonly ProcessIdentity[]>;

  private constructor(
    deps: Deps,
    places: StateLayout,
    earlier: Map<string, readonly ProcessIdentity[]>,
  ) {
    this.#deps = deps;
    this.#places = places;
    this.#remains = new ContainerCleanup(deps, places);
    this.#execs = new Execs(deps, places);
    this.#earlier = earlier;
  }

  /** Makes the directories of the state, and ends the ExecSync commands that an earlier daemon left. */
  static async open(deps: Deps): Promise<OciRuntime> {
    const places = new StateLayout(deps.state);
    for (const directory of [places.containers, places.exits, places.execs, places.consoles]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    await mountExitTmpfs(places, deps.log);
    const { monitors, execs } = await findOrphans(places);
    // The runtimes first: one of them may be about to write the pid file of its command.
    await endOrphans(execs);
    await endCommands(places.execs);
    warnWithoutMonitor(deps.conmonPath ?? "conmon", deps.log);
    await removeUnfinished(places.exits, monitors);
    return new OciRuntime(deps, places, monitors);
  }

  async start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer> {
    const { id } = bundle;
    if (this.#kept.has(id)) {
      throw new RuntimeError("already-exists", `start container "${id}": it was started already`);
    }
    const { cgroupPath } = bundle;
    const facts = {
      runtimePath: programPath(bundle.runtimePath),
      cgroupPath,
      ...(await this.#remains.oomKillsBefore(cgroupPath)),
    };
    await operation.enter("make-bundle");
    try {
      await mkdir(this.#places.bundle(id), { mode: 0o700 });
    } catch (cause) {
      throw systemError(`make bundle of container "${id}"`, cause);
    }
    let monitor: Child | undefined;
    let created: ProcessRef | undefined;
    let logFile: FileHandle | undefined;
    try {
      await operation.enter("write-bundle");
      const { logRoots = [] } = this.#deps;
      logFile = await writeBundle(this.#places, { bundle, facts, logRoots }, operation.signal);

      await operation.enter("start-monitor");
      const starting = await startMonitor({
        conmonPath: this.#deps.conmonPath ?? "conmon",
        runtimePath: facts.runtimePath,
        cgroups: this.#deps.cgroups,
        places: this.#places,
        bundle,
        logFd: logFile?.fd,
      });
      monitor = starting.child;
      // It has its own: done by the time that it is waited for below.
      logFile?.close().catch(() => undefined);

      await operation.enter("create-process");
      const pid = await beforeAbort(starting.answer, operation.signal);
      created = openProcess(pid);
      if (created === undefined) {
        throw new RuntimeError("unknown", "its process ended before it was started");
      }
      await operation.enter("mark-start");
      // Before the call: a short process has ended when it returns.
      const startedAtNs = this.#deps.clock.nowNs();
      writeFileSync(this.#places.file(id, "started"), String(startedAtNs), { mode: 0o600 });
      await operation.enter("start-process");
      await this.#remains.call(facts, ["start", id], { signal: operation.signal });
      return this.#started(id, facts, { process: created, monitor, startedAtNs });
    } catch (error) {
      created?.close();
      await this.#undo(id, facts, monitor);
      throw error;
    } finally {
      await logFile?.close();
    }
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
    if (this.#kept.has(id)) return;
    const { cgroupPath } = started;
    const [process, monitor] = [found(started.process), found(started.monitor)];
    // Of one that runs, what its slice has counted by now is not its own; one that has ended may have.
    const before =
      process === undefined
        ? await readRuntimeState(this.#places.file(id, "facts.json")).catch(() => undefined)
        : await this.#remains.oomKillsBefore(cgroupPath);
    // A runtime that is not installed any more must not hide how its containers end.
    const facts = { ...before, runtimePath: pathOrName(started.runtimePath), cgroupPath };
    this.#keep(id, facts, { process, monitor });
  }

  async spec(id: string): Promise<OciSpec | undefined> {
    const path = this.#places.file(id, "config.json");
    try {
      return parseSpec(await readFile(path, "utf8"));
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined;
      throw systemError(`read "${path}"`, cause);
    }
  }

  async loadUnrecorded(id: string): Promise<StartedContainer | undefined> {
    const facts = await this.#facts(id);
    const monitor = this.#earlier.get(id)?.[0];
    const run = facts && (await findRun({ id, facts, monitor, places: this.#places }));
    if (facts === undefined || run === undefined) {
      await this.remove(id);
      return undefined;
    }
    const { process, started } = run;
    this.#keep(id, facts, { ...started, process, monitor: found(monitor) });
    return started;
  }

  async kill(id: string, signalNumber: number): Promise<void> {
    const { process, facts } = this.#get(id, "signal");
    process?.kill(signalNumber);
    const { cgroups, log } = this.#deps;
    try {
      // What somebody froze keeps the signal waiting.
      if ((await isFrozen(cgroups, facts.cgroupPath)) === true) {
        await thawCgroup(cgroups, facts.cgroupPath);
      }
    } catch (error) {
      log.warn(`thaw cgroup of container "${id}": ${messageOf(error)}`, { error });
    }
  }

  async killAll(id: string): Promise<void> {
    const kept = this.#kept.get(id);
    if (kept !== undefined) kept.killed = true;
    const facts = await this.#facts(id);
    if (facts !== undefined) {
      const { cgroupPath } = facts;
      // Clients repeat a stop that fails: they must not come to kill beside each other.
      await this.#killing.do(cgroupPath, () => killCgroup(this.#deps.cgroups, cgroupPath));
    }
    // It may have been moved out of its cgroup; with the first process goes its PID namespace.
    kept?.process?.kill(SIGKILL);
  }

  async execSync(id: string, spec: OciProcess, operation: Operation): Promise<ExecResult> {
    return this.#execs.sync(id, this.#get(id, "run command in"), spec, operation);
  }

  async exec(
    id: string,
    spec: OciProcess,
    client: ProcessClient,
    operation: Operation,
  ): Promise<ExecEnd> {
    return this.#execs.stream(id, this.#get(id, "run command in"), { spec, client }, operation);
  }

  async attach(id: string, client: AttachedClient, operation: Operation): Promise<void> {
    const { monitor, exit } = this.#get(id, "attach to");
    if (monitor === undefined) {
      const text = `attach to container "${id}": its conmon has ended, so nobody has its streams`;
      throw new RuntimeError("failed-precondition", text);
    }
    const socket = this.#places.file(id, "attach");
    const target = { id, socket, control: this.#places.file(id, "ctl"), ended: exit };
    const deps = { idle: this.#idle, log: this.#deps.log };
    await attach(deps, target, client, operation);
  }

  async update(
    id: string,
    limits: ContainerLimits,
    signal: AbortSignal,
  ): Promise<() => Promise<void>> {
    const kept = this.#get(id, "update");
    const { facts } = kept;
    const { cgroups, log } = this.#deps;
    const callRuntime = (input: string): Promise<void> =>
      this.#remains.call(facts, ["update", "--resources", "-", id], { input, signal });
    return explainEnd(kept, `update resources of container "${id}"`, () =>
      updateLimits({ cgroups, log, callRuntime }, facts.cgroupPath, limits),
    );
  }

  async reopenLog(id: string, logPath: string): Promise<void> {
    const { monitor } = this.#get(id, "reopen log of");
    if (monitor === undefined) {
      throw new RuntimeError(
        "failed-precondition",
        `reopen log of container "${id}": its conmon has ended, so nothing is logged any more`,
      );
    }
    const { logRoots: linkedRoots = [] } = this.#deps;
    await reopenLog({ id, places: this.#places, monitorPid: monitor.pid, logPath, linkedRoots });
  }

  async remove(id: string, operation?: Pick<Operation, "enter">): Promise<void> {
    const kept = this.#kept.get(id);
    if (kept === undefined) await endOrphans(this.#earlier.get(id) ?? []);
    if ((await kept?.cleared) !== true) {
      const facts = await this.#facts(id);
      if (facts !== undefined) await this.#remains.destroy(id, facts, verbMs);
      // conmon's files must not be taken away under it, nor the runtime's.
      if (kept !== undefined) await within(kept.exit, verbMs);
      if (kept?.cleared !== undefined) await within(kept.cleared, verbMs);
    }
    await operation?.enter("remove-files");
    await this.#remains.removeFiles(id);
    this.#kept.delete(id);
    this.#earlier.delete(id);
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    const { containers, exits } = this.#places;
    const ids = [
      ...(await readdir(containers)),
      ...(await readdir(exits)).map(idOfExitFile),
      ...this.#earlier.keys(),
    ];
    return [...new Set(ids)].filter((id) => !known.has(id));
  }

  /** Lets go of all that is watched: the containers go on without this daemon. */
  async close(): Promise<void> {
    this.#idle.close();
    for (const kept of this.#kept.values()) kept.release();
    await unmountExitTmpfs(this.#places);
  }

  #started(
    id: string,
    facts: RuntimeState,
    running: {
      readonly process: ProcessRef;
      readonly monitor: Child;
      readonly startedAtNs: bigint;
    },
  ): StartedContainer {
    const { process, monitor, startedAtNs } = running;
    const monitorStart = processStartTime(monitor.pid);
    this.#keep(id, facts, running);
    return {
      process: { pid: process.pid, startTime: String(process.startTime) },
      monitor:
        monitorStart === undefined
          ? undefined
          : { pid: monitor.pid, startTime: String(monitorStart) },
      startedAtNs,
    };
  }

  #keep(
    id: string,
    facts: RuntimeState,
    running: {
      readonly process: ProcessRef | undefined;
      readonly monitor: ProcessRef | Child | undefined;
      readonly startedAtNs?: bigint;
    },
  ): void {
    const { process, monitor } = running;
    const kept: Kept = {
      facts,
      process,
      monitor,
      hostPids: process !== undefined && sharesHostPids(process.pid),
      exit: this.#end(id, facts, running),
      cleared: undefined,
      killed: false,
      release: () => {
        process?.close();
        if (monitor !== undefined && "close" in monitor) monitor.close();
        else monitor?.unref();
      },
    };
    void kept.exit.then(() => {
      kept.release();
    });
    this.#kept.set(id, kept);
  }

  /** Waits for a container's end and clears up after it. Never rejects: an end is always told. */
  async #end(
    id: string,
    facts: RuntimeState,
    running: {
      readonly process: Watched | undefined;
      readonly monitor: Watched | undefined;
      readonly startedAtNs?: bigint;
    },
  ): Promise<ContainerExit> {
    const { clock } = this.#deps;
    const log = this.#deps.log.with({ container: id });
    try {
      const end = await awaitEnd({
        ...running,
        exitFile: this.#places.exit(id),
        clock,
        log,
      });
      const oomKilled = await this.#remains.ranOutOfMemory(id, facts, {
        exitCode: end.exitCode,
        killed: this.#kept.get(id)?.killed === true,
      });
      try {
        await this.#remains.endProcesses(facts, verbMs);
        const cleared = this.#forget(id, facts, log);
        const kept = this.#kept.get(id);
        if (kept !== undefined) kept.cleared = cleared;
      } catch (error) {
        log.warn(`clear up after container "${id}": ${messageOf(error)}`, { error });
      }
      return { ...end, oomKilled };
    } catch (error) {
      log.error(`learn how container "${id}" ended: ${messageOf(error)}`, { error });
      return { exitCode: 255, finishedAtNs: clock.nowNs(), oomKilled: false, unknown: true };
    }
  }

  /** Never rejects: what stays is taken away by remove(). */
  async #forget(id: string, facts: RuntimeState, log: Logger): Promise<boolean> {
    try {
      await this.#remains.forget(id, facts, verbMs);
      return true;
    } catch (error) {
      log.warn(`clear up after container "${id}": ${messageOf(error)}`, { error });
      return false;
    }
  }

  /** Ends what a failed start made. What cannot be undone in time goes with remove(). */
  async #undo(id: string, facts: RuntimeState, monitor: Child | undefined): Promise<void> {
    try {
      if (monitor !== undefined) {
        if (!(await endTree(monitor, undoMs))) monitor.unref();
        monitor.stdout?.destroy();
        monitor.stderr?.destroy();
        await this.#remains.destroy(id, facts, undoMs);
      }
      await this.#remains.removeFiles(id);
    } catch (error) {
      this.#deps.log.warn(`undo start of container "${id}": ${messageOf(error)}`, { error });
    }
  }

  async #facts(id: string): Promise<RuntimeState | undefined> {
    return this.#kept.get(id)?.facts ?? readRuntimeState(this.#places.file(id, "facts.json"));
  }

  #get(id: string, doing: string): Kept {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept;
    throw new RuntimeError("not-found", `${doing} container "${id}": it is not running here`);
  }
}

function pathOrName(program: string): string {
  try {
    return programPath(program);
  } catch {
    return program;
  }
}
