import { mkdir, readdir, rm } from "node:fs/promises";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { SingleFlight } from "../../../base/single-flight.ts";
import { systemError } from "../../../base/system-error.ts";
import type { Clock } from "../../../base/time.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import type {
  AttachedClient,
  ContainerBundle,
  ContainerExit,
  ContainerLimits,
  ContainerRuntime,
  ExecResult,
  ProcessClient,
  StartedContainer,
  UsageReader,
} from "../../../core/container/index.ts";
import type { OciProcess, OciSpec } from "../../../core/oci/index.ts";
import { parseSpec } from "../../../oci-spec/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import type { KnownIds } from "../../../core/store/index.ts";
import type { ExecEnd } from "../../../core/streaming/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { type CgroupLayout, killCgroup } from "../../../linux/cgroup/index.ts";
import { openProcess, SIGKILL } from "../../../linux/process/index.ts";
import { explainEnd } from "../../../stdio/exec-session.ts";
import { PodShims } from "../process/pod-shims.ts";
import { shimProgram } from "../process/shim-binary.ts";
import { StateLayout } from "../process/state-layout.ts";
import { taskOptions, writeBundle } from "./bundle.ts";
import { TaskCleanup } from "./cleanup.ts";
import { type CaptureBy, ShimCaptures } from "./captures.ts";
import { ContainerIo } from "./container-io.ts";
import { CriuTurns } from "./criu-turns.ts";
import { ShimEvents } from "./events.ts";
import { TaskCommands } from "./exec/commands.ts";
import { endLostCommands, findLostCommands } from "./exec/lost-commands.ts";
import { findRun } from "./find-run.ts";
import { ShimFreezer } from "./freezer.ts";
import { resumeIfPaused } from "./pause.ts";
import { type PrepareRestore, removeRestore, withRestoreSpec } from "./restore.ts";
import { signalTask } from "./signal.ts";
import { identityOf, lostState, readText, responded, startError } from "./shim-answers.ts";
import { ShimUsers } from "./shim-users.ts";
import { startTask } from "./start.ts";
import { newTaskState, readTaskState, type TaskState } from "./task-state.ts";
import { type RunningTask, TrackedTask } from "./tracked-task.ts";
import { updateTask } from "./update.ts";

interface Deps {
  /** The state directory of the configuration. */
  readonly state: string;
  readonly cgroups: CgroupLayout;
  /** Reads what a container used, at its end. */
  readonly usage?: UsageReader;
  readonly clock: Clock;
  readonly log: Logger;
  /** See LogDirectoryOptions. */
  readonly logRoots?: readonly string[];
  /** A program that sends an event, for shims that cannot send events themselves. */
  readonly publishBinary: string;
  /** Writes limits to a cgroup by a runtime's own `update`, all or none; the result restores the previous ones. */
  readonly updateLimits: (
    deps: {
      readonly cgroups: CgroupLayout;
      readonly log: Logger;
      readonly callRuntime: (resources: string) => Promise<void>;
    },
    cgroupPath: string,
    limits: ContainerLimits,
  ) => Promise<() => Promise<void>>;
  /** Captures a container by a program that runs `checkpoint` of its OCI runtime. */
  readonly captureBy: CaptureBy;
  /** Prepares a restore of a container by such a program. */
  readonly prepareRestore: PrepareRestore;
  /** Ends the CRIU that works in a directory. */
  readonly endCriu: (work: string, log: Logger) => Promise<void>;
}

/** How long a shim may take to kill a task whose processes are not on this host. */
const killMs = 2_000;
const removeMs = 15_000;

/**
 * Runs containers by containerd's shims, one shim a pod.
 *
 * Shims and containers outlive the daemon. Memory holds only how they are watched;
 * everything that is needed to end and remove them follows from the id and the bundle.
 */
export class ShimRuntime implements ContainerRuntime {
  readonly freezer: ShimFreezer;
  readonly captures: ShimCaptures;
  readonly #deps: Deps;
  readonly #paths: StateLayout;
  readonly #shims: PodShims;
  readonly #cleanup: TaskCleanup;
  readonly #commands: TaskCommands;
  readonly #criu = new CriuTurns();
  readonly #tasks = new Map<string, TrackedTask>();
  readonly #kills = new SingleFlight();
  readonly #shimUsers: ShimUsers;
  /** Containers whose shim has reported an OOM kill. */
  readonly #outOfMemory = new Set<string>();
  readonly #closing = new AbortController();
  #events: ShimEvents | undefined;

  private constructor(deps: Deps, paths: StateLayout) {
    this.#deps = deps;
    this.#paths = paths;
    const { publishBinary, log } = deps;
    const environment = { publishBinary, ...paths.forShims };
    this.#shims = new PodShims({ paths, environment, log });
    this.#shimUsers = new ShimUsers(this.#shims, log);
    this.#cleanup = new TaskCleanup({ ...deps, paths, environment, shims: this.#shims });
    const get = (id: string, doing: string): TrackedTask => this.#get(id, doing);
    this.#commands = new TaskCommands({ ...deps, paths, shims: this.#shims, get });
    const find = (id: string): TrackedTask | undefined => this.#tasks.get(id);
    this.freezer = new ShimFreezer({ cgroups: deps.cgroups, shims: this.#shims, find });
    this.captures = new ShimCaptures({
      ...deps,
      ...{ paths, shims: this.#shims, criu: this.#criu, get },
      specOf: (id) => this.spec(id),
    });
  }

  /** Creates the directories of the state, serves events, and ends shims that no container needs. */
  static async open(deps: Deps): Promise<ShimRuntime> {
    const paths = new StateLayout(deps.state);
    for (const directory of paths.directories) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    const runtime = new ShimRuntime(deps, paths);
    for (const id of await readdir(paths.tasks)) {
      const state = await readTaskState(paths.taskFile(id, "facts.json"));
      if (state !== undefined) runtime.#shimUsers.add(state.sandboxId, id);
    }
    const listener = { outOfMemory: (id: string) => void runtime.#outOfMemory.add(id) };
    runtime.#events = await ShimEvents.open(paths.events, listener, deps.log);
    for (const sandboxId of await runtime.#shims.pods()) {
      // In the background: a shim that hangs must not delay the daemon's start.
      void runtime.#shimUsers.endIfIdle(sandboxId);
    }
    return runtime;
  }

  /** The shims of pods; ShimController uses them to create sandboxes. */
  get shims(): PodShims {
    return this.#shims;
  }

  async start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer> {
    const { id, handler, sandboxId } = bundle;
    if (this.#tasks.has(id)) {
      throw new RuntimeError("already-exists", `start container "${id}": it was started already`);
    }
    const { runtimeType = "", runtimePath = "" } = handler;
    const program = shimProgram(runtimeType, runtimePath);
    const options = taskOptions(bundle, this.#paths.runtimeRoot);
    const state = newTaskState(bundle, program);
    await operation.enter("make-bundle");
    try {
      await mkdir(this.#paths.task(id), { mode: 0o700 });
    } catch (cause) {
      throw systemError(`make bundle of container "${id}"`, cause);
    }
    this.#shimUsers.add(sandboxId, id);
    let io: ContainerIo | undefined;
    try {
      await operation.enter("write-bundle");
      await writeBundle(this.#paths, withRestoreSpec(this.#paths, bundle), state, options);
      if (!state.streaming) io = await ContainerIo.open(this.#paths, id, state, this.#deps);
      await operation.enter("start-monitor");
      const shim = await this.#shims.open(sandboxId, { program, options }, operation.signal);
      io ??= await ContainerIo.open(this.#paths, id, state, this.#deps, shim);
      const deps = { ...this.#deps, paths: this.#paths, criu: this.#criu, shims: this.#shims };
      const task = { bundle, state, options, shim };
      const { pid, process, startedAtNs } = await startTask(deps, task, operation);
      this.#track(id, { state, io, process, shim });
      return { process: identityOf(process, pid), monitor: shim.process, startedAtNs };
    } catch (error) {
      io?.release();
      await this.#undo(id, state);
      throw startError(error);
    }
  }

  async wait(id: string, signal: AbortSignal): Promise<ContainerExit> {
    return beforeAbort(this.#get(id, "wait for").exit, signal);
  }

  async load(
    id: string,
    started: {
      readonly process: ProcessIdentity;
      readonly cgroupPath: string;
    },
  ): Promise<void> {
    if (this.#tasks.has(id)) return;
    const state = await readTaskState(this.#paths.taskFile(id, "facts.json"));
    await this.captures.endLost(id);
    if (this.#tasks.has(id)) return;
    const { pid, startTime } = started.process;
    if (state !== undefined) this.#endLostCommands(id, state);
    this.#track(id, {
      state: state ?? lostState(started.cgroupPath),
      io: state && (await this.#adoptIo(id, state)),
      process: openProcess(pid, BigInt(startTime)),
      shim: undefined,
    });
  }

  async loadUnrecorded(id: string): Promise<StartedContainer | undefined> {
    const state = await readTaskState(this.#paths.taskFile(id, "facts.json"));
    const deps = { paths: this.#paths, shims: this.#shims, log: this.#deps.log };
    const run = state && (await findRun(deps, id, state));
    if (state === undefined || run === undefined) {
      await this.remove(id);
      return undefined;
    }
    const { started, process, shim } = run;
    const io = await this.#adoptIo(id, state);
    this.#endLostCommands(id, state);
    this.#track(id, { state, io, process, shim });
    return started;
  }

  async spec(id: string): Promise<OciSpec | undefined> {
    const text = await readText(this.#paths.taskFile(id, "config.json"));
    return text === undefined ? undefined : parseSpec(text);
  }

  async kill(id: string, signalNumber: number): Promise<void> {
    const deps = { ...this.#deps, shims: this.#shims };
    await signalTask(deps, this.#get(id, "signal"), signalNumber);
  }

  async killAll(id: string): Promise<void> {
    const task = this.#tasks.get(id);
    const state = await this.#state(id);
    if (task !== undefined) task.killed = true;
    if (state === undefined) return;
    const { cgroupPath, sandboxId } = state;
    // Clients repeat a stop that fails: their kills must not run at the same time.
    if (cgroupPath !== "")
      await this.#kills.do(cgroupPath, () => killCgroup(this.#deps.cgroups, cgroupPath));
    if (task?.process !== undefined) {
      task.process.kill(SIGKILL);
      return;
    }
    // Its processes may not be on this host: only the shim can end them.
    const shim = await this.#shims.find(sandboxId);
    const request = { id, signal: SIGKILL, all: true };
    const call = shim?.task.call(Task.method.kill, request, { timeoutMs: killMs });
    call?.catch(() => undefined);
    if (shim === undefined || !(await responded(call))) await this.#shims.kill(sandboxId);
    else await resumeIfPaused(this.#deps, { id, cgroupPath, shim });
  }

  execSync(id: string, spec: OciProcess, operation: Operation): Promise<ExecResult> {
    return this.#commands.execSync(id, spec, operation);
  }

  exec(
    id: string,
    spec: OciProcess,
    client: ProcessClient,
    operation: Operation,
  ): Promise<ExecEnd> {
    return this.#commands.exec(id, spec, client, operation);
  }

  attach(id: string, client: AttachedClient, operation: Operation): Promise<void> {
    return this.#commands.attach(id, client, operation);
  }

  async update(
    id: string,
    limits: ContainerLimits,
    signal: AbortSignal,
  ): Promise<() => Promise<void>> {
    const task = this.#get(id, "update");
    const { cgroups, log, updateLimits } = this.#deps;
    const shim = await this.#shims.get(task.state.sandboxId);
    const callRuntime = (text: string): Promise<void> => updateTask(shim, id, text, signal);
    const doing = `update resources of container "${id}"`;
    return explainEnd(task, doing, () =>
      updateLimits({ cgroups, log, callRuntime }, task.state.cgroupPath, limits),
    );
  }

  async reopenLog(id: string, logPath: string): Promise<void> {
    const { io } = this.#get(id, "reopen log of");
    await io?.reopenLog(logPath);
  }

  /** davit writes these logs, each in a file that has its name. */
  completeRotation(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async remove(id: string, operation?: Pick<Operation, "enter">): Promise<void> {
    const task = this.#tasks.get(id);
    const state = await this.#state(id);
    if (task !== undefined && !(await within(task.exit, 0))) {
      await this.killAll(id);
      await within(task.exit, removeMs);
    }
    if (state !== undefined && task?.cleaned !== true) await this.#cleanup.destroy(id, state);
    task?.io?.release();
    await operation?.enter("remove-files");
    await this.#removeFiles(id, state);
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    return (await readdir(this.#paths.tasks)).filter((id) => !known.has(id));
  }

  /** Stops watching all containers and shims, which continue without this daemon. */
  async close(): Promise<void> {
    this.#closing.abort(new RuntimeError("canceled", "the daemon is shutting down"));
    for (const task of this.#tasks.values()) task.release();
    this.#shims.close();
    await this.#events?.close();
  }

  #track(id: string, running: Pick<RunningTask, "state" | "io" | "process" | "shim">): void {
    const deps = {
      ...this.#deps,
      shims: this.#shims,
      cleanup: this.#cleanup,
      signal: this.#closing.signal,
      isOomReported: (): boolean => this.#outOfMemory.delete(id),
    };
    const exitNote = this.#paths.taskFile(id, "exit.json");
    this.#tasks.set(id, new TrackedTask(deps, { id, ...running, exitNote }));
  }

  /** The streams of a container of an earlier daemon; undefined if those of its shim cannot be reached. */
  async #adoptIo(id: string, state: TaskState): Promise<ContainerIo | undefined> {
    const server = state.streaming ? await this.#shims.find(state.sandboxId) : undefined;
    return ContainerIo.adopt(this.#paths, id, state, this.#deps, server);
  }

  /** Ends the commands of an earlier daemon in the background. */
  #endLostCommands(id: string, { sandboxId, cgroupPath }: TaskState): void {
    const lost = findLostCommands(this.#paths, id);
    void endLostCommands(
      { ...this.#deps, shims: this.#shims },
      { id, sandboxId, cgroupPath },
      lost,
    );
  }

  /** Undoes a failed start. What cannot be undone in time is removed with the container. */
  async #undo(id: string, state: TaskState): Promise<void> {
    try {
      await this.#cleanup.destroy(id, state);
      await this.#removeFiles(id, state);
    } catch (error) {
      this.#deps.log.warn(`failed to undo start of container "${id}": ${messageOf(error)}`, {
        error,
      });
    }
  }

  /** Removes the bundle after everything except the pod's shim: it shows a later daemon that something is left. */
  async #removeFiles(id: string, state: TaskState | undefined): Promise<void> {
    await removeRestore(this.#paths, id);
    await rm(this.#paths.work(id), { recursive: true, force: true });
    await rm(this.#paths.task(id), { recursive: true, force: true });
    this.#tasks.delete(id);
    this.#outOfMemory.delete(id);
    if (state !== undefined) await this.#shimUsers.remove(state.sandboxId, id);
  }

  async #state(id: string): Promise<TaskState | undefined> {
    return this.#tasks.get(id)?.state ?? readTaskState(this.#paths.taskFile(id, "facts.json"));
  }

  #get(id: string, doing: string): TrackedTask {
    const task = this.#tasks.get(id);
    if (task !== undefined) return task;
    throw new RuntimeError("not-found", `${doing} container "${id}": it is not running here`);
  }
}
