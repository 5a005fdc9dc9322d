import { mkdir, readdir, rm, writeFile } from "node:fs/promises";

import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { isKind, messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import { SingleFlight } from "../../../base/single-flight.ts";
import type { Clock } from "../../../base/time.ts";
import type {
  AttachedClient,
  ContainerBundle,
  ContainerExit,
  ContainerLimits,
  ContainerRuntime,
  ExecResult,
  ProcessClient,
  StartedContainer,
} from "../../../core/container/index.ts";
import type { OciProcess, OciSpec } from "../../../core/oci/index.ts";
import { parseSpec } from "../../../oci-spec/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import type { ExecEnd } from "../../../core/streaming/index.ts";
import type { KnownIds } from "../../../core/store/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { type CgroupLayout, killCgroup, oomKills } from "../../../linux/cgroup/index.ts";
import { openProcess } from "../../../linux/process/index.ts";
import { systemError } from "../../../base/system-error.ts";
import { ContainerIo } from "./container-io.ts";
import {
  explainEnd,
  hasRun,
  identityOf,
  lostFacts,
  rootfsOf,
  responded,
  startError,
  textOf,
} from "./shim-answers.ts";
import { refuseHostProcesses } from "./host-processes.ts";
import { ShimEvents } from "./events.ts";
import { notedExit, noteExit } from "./exit-note.ts";
import { readTaskState, type TaskState } from "./task-state.ts";
import { taskOptions, writeBundle } from "./bundle.ts";
import { endLostCommands, findLostCommands } from "./exec/lost-commands.ts";
import { StateLayout } from "../process/state-layout.ts";
import { type PodShim, PodShims } from "../process/pod-shims.ts";
import type { Tracked } from "./running-task.ts";
import { shimProgram } from "../process/shim-binary.ts";
import { awaitTaskEnd, type TaskEnd } from "./end.ts";
import { TaskCommands } from "./exec/commands.ts";
import { resumeIfPaused } from "./pause.ts";
import { TaskCleanup } from "./cleanup.ts";

interface Deps {
  /** The state directory of the configuration. */
  readonly state: string;
  readonly cgroups: CgroupLayout;
  readonly clock: Clock;
  readonly log: Logger;
  /** See LogDirectoryOptions. */
  readonly logRoots?: readonly string[];
  /** A program that sends an event, for shims that cannot do it themselves. */
  readonly publishBinary: string;
  /** Writes limits to a cgroup by a runtime's own `update`, all or none; the result takes them back. */
  readonly updateLimits: (
    deps: {
      readonly cgroups: CgroupLayout;
      readonly log: Logger;
      readonly callRuntime: (resources: string) => Promise<void>;
    },
    cgroupPath: string,
    limits: ContainerLimits,
  ) => Promise<() => Promise<void>>;
}

/** How long a shim may take to pass a signal on before it is sent without its help. */
const killMs = 2_000;
const removeMs = 15_000;
const SIGKILL = 9;
const resourcesType = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/**
 * Runs containers by containerd's shims, one shim a pod.
 *
 * Shims and containers outlive the daemon. What is in memory here is only how they are watched;
 * everything that ending and removing them needs follows from the id and the bundle.
 */
export class ShimRuntime implements ContainerRuntime {
  readonly #deps: Deps;
  readonly #places: StateLayout;
  readonly #shims: PodShims;
  readonly #remains: TaskCleanup;
  readonly #commands: TaskCommands;
  readonly #kept = new Map<string, Tracked>();
  readonly #killing = new SingleFlight();
  /** The containers that something is left of here, by their sandbox. */
  readonly #tasksOf = new Map<string, Set<string>>();
  readonly #outOfMemory = new Set<string>();
  readonly #over = new AbortController();
  #events: ShimEvents | undefined;

  private constructor(deps: Deps, places: StateLayout) {
    this.#deps = deps;
    this.#places = places;
    const { publishBinary, log } = deps;
    const environment = { eventsPath: places.events, publishBinary };
    this.#shims = new PodShims({ places, environment, log });
    this.#remains = new TaskCleanup({ ...deps, places, environment, shims: this.#shims });
    const get = (id: string, doing: string): Tracked => this.#get(id, doing);
    this.#commands = new TaskCommands({ ...deps, places, shims: this.#shims, get });
  }

  /** Makes the directories of the state, serves events, and ends shims that no container needs. */
  static async open(deps: Deps): Promise<ShimRuntime> {
    const places = new StateLayout(deps.state);
    for (const directory of [places.tasks, places.pods, places.works, places.runtimeRoot]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    const runtime = new ShimRuntime(deps, places);
    for (const id of await readdir(places.tasks)) {
      const facts = await readTaskState(places.taskFile(id, "facts.json"));
      if (facts !== undefined) runtime.#addTask(id, facts.sandboxId);
    }
    const listener = { outOfMemory: (id: string) => void runtime.#outOfMemory.add(id) };
    runtime.#events = await ShimEvents.open(places.events, listener, deps.log);
    for (const sandboxId of await runtime.#shims.pods()) {
      // In the background: one that hangs must not keep the daemon from starting.
      void runtime.#endIdleShim(sandboxId);
    }
    return runtime;
  }

  /** The shims of pods, which a controller has its sandboxes made by, too. */
  get shims(): PodShims {
    return this.#shims;
  }

  async start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer> {
    const { id, handler, sandboxId } = bundle;
    if (this.#kept.has(id)) {
      throw new RuntimeError("already-exists", `start container "${id}": it was started already`);
    }
    const { runtimeType = "", runtimePath = "" } = handler;
    const program = shimProgram(runtimeType, runtimePath);
    const options = taskOptions(bundle, this.#places.runtimeRoot);
    const { cgroupPath, logPath, terminal, stdin } = bundle;
    const facts = { sandboxId, cgroupPath, program, logPath, terminal, stdin };
    await operation.enter("make-bundle");
    try {
      await mkdir(this.#places.task(id), { mode: 0o700 });
    } catch (cause) {
      throw systemError(`make bundle of container "${id}"`, cause);
    }
    this.#addTask(id, sandboxId);
    let io: ContainerIo | undefined;
    try {
      await operation.enter("write-bundle");
      await writeBundle(this.#places, bundle, facts, options);
      io = await ContainerIo.open(this.#places, id, facts, this.#deps);
      await operation.enter("start-monitor");
      const shim = await this.#shims.open(sandboxId, { program, options }, operation.signal);
      await operation.enter("create-process");
      const paths = ContainerIo.paths(this.#places, id, facts);
      const { pid } = await shim.task.call(
        Task.method.create,
        {
          id,
          bundle: this.#places.task(id),
          terminal,
          ...paths,
          options,
          rootfs: rootfsOf(bundle),
        },
        { signal: operation.signal, timeoutMs: 0 },
      );
      await refuseHostProcesses(bundle, pid, this.#deps.cgroups);
      const process = openProcess(pid);
      await operation.enter("mark-start");
      // Before the call: a short process has ended when it returns.
      const startedAtNs = this.#deps.clock.nowNs();
      const mark = this.#places.taskFile(id, "started");
      await writeFile(mark, `${startedAtNs} ${pid}`, { mode: 0o600 });
      await operation.enter("start-process");
      await shim.task.call(Task.method.start, { id }, { signal: operation.signal, timeoutMs: 0 });
      this.#keep(id, { facts, io, process, shim, startedAtNs });
      return { process: identityOf(process, pid), monitor: shim.process, startedAtNs };
    } catch (error) {
      io?.release();
      await this.#undo(id, facts);
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
    if (this.#kept.has(id)) return;
    const facts = await readTaskState(this.#places.taskFile(id, "facts.json"));
    if (this.#kept.has(id)) return;
    const { pid, startTime } = started.process;
    if (facts !== undefined) this.#endLostCommands(id, facts);
    this.#keep(id, {
      facts: facts ?? lostFacts(started.cgroupPath),
      io: facts === undefined ? undefined : await this.#openIo(id, facts),
      process: openProcess(pid, BigInt(startTime)),
      shim: undefined,
      startedAtNs: 0n,
    });
  }

  async loadUnrecorded(id: string): Promise<StartedContainer | undefined> {
    const facts = await readTaskState(this.#places.taskFile(id, "facts.json"));
    const mark = facts && (await textOf(this.#places.taskFile(id, "started")));
    const [startedAt, pidText] = /^(\d+) (\d+)$/.exec(mark ?? "")?.slice(1) ?? [];
    if (facts !== undefined && startedAt !== undefined && pidText !== undefined) {
      const shim = await this.#shims.find(facts.sandboxId);
      const noted = await notedExit(this.#places.taskFile(id, "exit.json"), this.#deps.log);
      if (noted !== undefined || (shim !== undefined && (await hasRun(shim, id)))) {
        const startedAtNs = BigInt(startedAt);
        const pid = Number(pidText);
        // Whatever has the pid of one that has ended is another process.
        const process = noted === undefined ? openProcess(pid) : undefined;
        const io = await this.#openIo(id, facts);
        this.#endLostCommands(id, facts);
        this.#keep(id, { facts, io, process, shim, startedAtNs });
        const identity = noted === undefined ? identityOf(process, pid) : { pid, startTime: "0" };
        return { process: identity, monitor: shim?.process, startedAtNs };
      }
    }
    await this.remove(id);
    return undefined;
  }

  async spec(id: string): Promise<OciSpec | undefined> {
    const text = await textOf(this.#places.taskFile(id, "config.json"));
    return text === undefined ? undefined : parseSpec(text);
  }

  async kill(id: string, signalNumber: number): Promise<void> {
    const { process, facts } = this.#get(id, "signal");
    const { cgroupPath } = facts;
    let shim: PodShim | undefined;
    try {
      shim = await this.#shims.get(facts.sandboxId);
      const request = { id, signal: signalNumber };
      await shim.task.call(Task.method.kill, request, { timeoutMs: killMs });
    } catch (error) {
      if (isKind(error, "not-found")) return;
      const hangs = isKind(error, "deadline-exceeded") || isKind(error, "unavailable");
      // What is not a process of this host nobody else can signal. A stop goes on and kills the shim.
      if (process === undefined && !hangs) throw error;
      this.#deps.log.warn(`signal container "${id}" without its shim: ${messageOf(error)}`);
      process?.kill(signalNumber);
      if (hangs) shim = undefined;
    }
    await resumeIfPaused(this.#deps, { id, cgroupPath, shim });
  }

  async killAll(id: string): Promise<void> {
    const kept = this.#kept.get(id);
    const facts = await this.#facts(id);
    if (kept !== undefined) kept.killed = true;
    if (facts === undefined) return;
    const { cgroupPath, sandboxId } = facts;
    // Clients repeat a stop that fails: they must not come to kill beside each other.
    if (cgroupPath !== "")
      await this.#killing.do(cgroupPath, () => killCgroup(this.#deps.cgroups, cgroupPath));
    if (kept?.process !== undefined) {
      kept.process.kill(SIGKILL);
      return;
    }
    // What it has may not be on this host: only the shim can end it.
    const shim = await this.#shims.find(sandboxId);
    const request = { id, signal: SIGKILL, all: true };
    const asked = shim?.task.call(Task.method.kill, request, { timeoutMs: killMs });
    asked?.catch(() => undefined);
    if (shim === undefined || !(await responded(asked))) await this.#shims.kill(sandboxId);
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
    const kept = this.#get(id, "update");
    const { cgroups, log, updateLimits } = this.#deps;
    const shim = await this.#shims.get(kept.facts.sandboxId);
    const callRuntime = async (text: string): Promise<void> => {
      const resources = create(AnySchema, { typeUrl: resourcesType, value: Buffer.from(text) });
      try {
        await shim.task.call(Task.method.update, { id, resources }, { signal });
      } catch (error) {
        throw startError(error);
      }
    };
    const doing = `update resources of container "${id}"`;
    return explainEnd(kept, doing, () =>
      updateLimits({ cgroups, log, callRuntime }, kept.facts.cgroupPath, limits),
    );
  }

  async reopenLog(id: string, logPath: string): Promise<void> {
    const { io } = this.#get(id, "reopen log of");
    await io?.reopenLog(logPath);
  }

  async remove(id: string, operation?: Pick<Operation, "enter">): Promise<void> {
    const kept = this.#kept.get(id);
    const facts = await this.#facts(id);
    if (kept !== undefined && !(await within(kept.exit, 0))) {
      await this.killAll(id);
      await within(kept.exit, removeMs);
    }
    if (facts !== undefined && kept?.cleared !== true) await this.#remains.takeAway(id, facts);
    kept?.io?.release();
    await operation?.enter("remove-files");
    await this.#removeFiles(id, facts);
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    return (await readdir(this.#places.tasks)).filter((id) => !known.has(id));
  }

  /** Lets go of all that is watched: shims and containers go on without this daemon. */
  async close(): Promise<void> {
    this.#over.abort(new RuntimeError("canceled", "the daemon is shutting down"));
    for (const kept of this.#kept.values()) {
      kept.io?.release();
      kept.process?.close();
    }
    this.#shims.close();
    await this.#events?.close();
  }

  #keep(id: string, running: Omit<Tracked, "exit" | "cleared" | "killed">): void {
    const { promise, resolve } = Promise.withResolvers<ContainerExit>();
    const kept: Tracked = { ...running, exit: promise, cleared: false, killed: false };
    this.#kept.set(id, kept);
    void this.#end(id, kept).then(resolve);
  }

  /** Waits for a container's end and clears up after it. Never rejects: an end is always told. */
  async #end(id: string, kept: Tracked): Promise<ContainerExit> {
    const { clock } = this.#deps;
    const { facts, startedAtNs } = kept;
    const log = this.#deps.log.with({ container: id });
    const { sandboxId } = facts;
    try {
      const end = await awaitTaskEnd({
        ...kept,
        ...{ id, sandboxId, clock, log, shims: this.#shims, signal: this.#over.signal },
        endWithoutShim: () => this.#remains.endWithoutShim(id, facts),
      });
      const note = this.#places.taskFile(id, "exit.json");
      const exit = (await notedExit(note, log)) ?? {
        exitCode: end.exitCode,
        unknown: end.unknown,
        finishedAtNs: end.finishedAtNs < startedAtNs ? startedAtNs : end.finishedAtNs,
        oomKilled: await this.#ranOutOfMemory(id, facts),
      };
      await noteExit(note, exit, log);
      await this.#clear(id, kept, end, log);
      return exit;
    } catch (error) {
      // The daemon's end: nobody waits any more, and the next one finds out.
      if (this.#over.signal.aborted) return new Promise<never>(() => undefined);
      log.error(`learn how container "${id}" ended: ${messageOf(error)}`, { error });
      return { exitCode: 255, finishedAtNs: clock.nowNs(), oomKilled: false, unknown: true };
    }
  }

  async #clear(id: string, kept: Tracked, end: TaskEnd, log: Logger): Promise<void> {
    try {
      if (end.shim !== undefined) await this.#remains.clear(id, kept.facts, end.shim);
      kept.cleared = true;
    } catch (error) {
      log.warn(`clear up after container "${id}": ${messageOf(error)}`, { error });
    }
    await kept.io?.finish();
    kept.process?.close();
  }

  /** In the background: nobody waits for what an earlier daemon ran. */
  #endLostCommands(id: string, { sandboxId, cgroupPath }: TaskState): void {
    const lost = findLostCommands(this.#places, id);
    void endLostCommands(
      { ...this.#deps, shims: this.#shims },
      { id, sandboxId, cgroupPath },
      lost,
    );
  }

  async #ranOutOfMemory(id: string, { cgroupPath }: TaskState): Promise<boolean> {
    if (this.#outOfMemory.delete(id)) return true;
    if (cgroupPath === "") return false;
    return ((await oomKills(this.#deps.cgroups, cgroupPath)) ?? 0) > 0;
  }

  /** Ends what a failed start made. What cannot be undone in time goes with remove(). */
  async #undo(id: string, facts: TaskState): Promise<void> {
    try {
      await this.#remains.takeAway(id, facts);
      await this.#removeFiles(id, facts);
    } catch (error) {
      this.#deps.log.warn(`undo start of container "${id}": ${messageOf(error)}`, { error });
    }
  }

  /** The bundle goes last but for the pod's shim: it tells a later daemon that something is left. */
  async #removeFiles(id: string, facts: TaskState | undefined): Promise<void> {
    await rm(this.#places.work(id), { recursive: true, force: true });
    await rm(this.#places.task(id), { recursive: true, force: true });
    this.#kept.delete(id);
    this.#outOfMemory.delete(id);
    if (facts === undefined) return;
    const tasks = this.#tasksOf.get(facts.sandboxId);
    tasks?.delete(id);
    if (tasks?.size === 0) this.#tasksOf.delete(facts.sandboxId);
    await this.#endIdleShim(facts.sandboxId);
  }

  /** Ends the pod's shim unless a container needs it. */
  async #endIdleShim(sandboxId: string): Promise<void> {
    if (sandboxId === "" || this.#tasksOf.has(sandboxId)) return;
    try {
      await this.#shims.shutdown(sandboxId, () => this.#tasksOf.has(sandboxId));
    } catch (error) {
      this.#deps.log.warn(`end shim of sandbox "${sandboxId}": ${messageOf(error)}`, { error });
    }
  }

  #addTask(id: string, sandboxId: string): void {
    const tasks = this.#tasksOf.get(sandboxId) ?? new Set();
    this.#tasksOf.set(sandboxId, tasks.add(id));
  }

  /** Undefined when it cannot be had: the container goes on, its output is not read. */
  async #openIo(id: string, facts: TaskState): Promise<ContainerIo | undefined> {
    // Without its log rather than not at all: a container whose output nobody reads comes to a halt.
    for (const choice of [facts, { ...facts, logPath: undefined }]) {
      try {
        return await ContainerIo.open(this.#places, id, choice, this.#deps);
      } catch (error) {
        this.#deps.log.error(`take up output of container "${id}": ${messageOf(error)}`);
      }
    }
    return undefined;
  }

  async #facts(id: string): Promise<TaskState | undefined> {
    return this.#kept.get(id)?.facts ?? readTaskState(this.#places.taskFile(id, "facts.json"));
  }

  #get(id: string, doing: string): Tracked {
    const kept = this.#kept.get(id);
    if (kept !== undefined) return kept;
    throw new RuntimeError("not-found", `${doing} container "${id}": it is not running here`);
  }
}
