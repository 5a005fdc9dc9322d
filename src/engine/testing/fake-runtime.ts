import { RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { Clock } from "../../base/time.ts";
import type {
  AttachedClient,
  CaptureRequest,
  ContainerBundle,
  ContainerExit,
  ContainerLimits,
  ContainerRuntime,
  ExecResult,
  ProcessClient,
  StartedContainer,
} from "../../core/container/index.ts";
import type { BoundHandler } from "../../core/handler/index.ts";
import type { OciProcess, OciSpec } from "../../core/oci/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import type { ExecEnd } from "../../core/streaming/index.ts";
import type { FakeHost } from "./fake-host.ts";
import { Trouble } from "./trouble.ts";

type Call =
  | "start"
  | "load"
  | "loadUnrecorded"
  | "wait"
  | "kill"
  | "killAll"
  | "execSync"
  | "exec"
  | "attach"
  | "update"
  | "reopenLog"
  | "completeRotation"
  | "remove"
  | "orphans"
  | "pause"
  | "resume"
  | "reclaimMemory"
  | "capture";

interface Run {
  readonly bundle: ContainerBundle;
  readonly started: StartedContainer;
  readonly end: PromiseWithResolvers<ContainerExit>;
  /** True when this daemon has started or adopted it. */
  known: boolean;
}

/** Runs containers in memory. A container exits at any signal unless it is stubborn. */
export class FakeRuntime implements ContainerRuntime {
  /** The containers that are paused. */
  readonly paused = new Set<string>();
  readonly freezer = {
    pause: async (id: string, signal: AbortSignal): Promise<void> => {
      await this.trouble.at("pause", signal);
      this.paused.add(id);
    },
    resume: async (id: string): Promise<void> => {
      await this.trouble.at("resume");
      this.paused.delete(id);
    },
    isPaused: async (id: string): Promise<boolean> => this.paused.has(id),
    reclaimMemory: async (id: string): Promise<bigint> => {
      await this.trouble.at("reclaimMemory");
      return this.paused.has(id) ? 4096n : 0n;
    },
  };
  /** What capture() was asked for, by container. */
  readonly captured = new Map<string, CaptureRequest>();
  readonly captures = {
    capture: async (id: string, request: CaptureRequest, operation: Operation): Promise<void> => {
      await this.trouble.at("capture", operation.signal);
      this.captured.set(id, request);
    },
    obstacle: (_handler: BoundHandler, use: "capture" | "restore"): string | undefined =>
      this.obstacles[use],
    ociRuntimeOf: ({ path, name }: BoundHandler): string => path ?? name,
  };
  /** Why nothing can be captured or restored. */
  readonly obstacles: { capture?: string; restore?: string } = {};
  readonly trouble = new Trouble<Call>();
  /** Containers that ignore every signal of kill(). */
  readonly stubborn = new Set<string>();
  /** The signals that containers got, by id. */
  readonly signals = new Map<string, number[]>();
  /** The current limits, by container. */
  readonly limits = new Map<string, ContainerLimits>();
  /** How often each log was reopened, by path. */
  readonly reopened = new Map<string, number>();
  /** The containers whose rotation an earlier daemon did not complete. */
  readonly stuckRotations = new Set<string>();
  /** The last command that ran in a container, and the client of its streams. */
  command: { readonly process: OciProcess; readonly client?: ProcessClient } | undefined;
  /** What a command does with its client's streams. */
  talk: ((streams: ProcessClient["streams"], signal: AbortSignal) => Promise<void>) | undefined;
  attached: AttachedClient | undefined;
  result: ExecResult = { stdout: Buffer.from("out"), stderr: Buffer.from(""), exitCode: 0 };
  readonly #host: FakeHost;
  readonly #clock: Clock;
  readonly #runs = new Map<string, Run>();
  #lastPid = 5000;

  constructor(host: FakeHost, clock: Clock) {
    this.#host = host;
    this.#clock = clock;
  }

  /** The parameters with which a container was started. */
  bundleOf(id: string): ContainerBundle | undefined {
    return this.#runs.get(id)?.bundle;
  }

  /** Makes the container's process exit. */
  exit(id: string, how: Partial<ContainerExit> = {}): void {
    this.#host.remove("process", id);
    this.paused.delete(id);
    this.#runs.get(id)?.end.resolve({
      exitCode: 0,
      finishedAtNs: this.#clock.nowNs(),
      oomKilled: false,
      unknown: false,
      ...how,
    });
  }

  /** Forgets all containers until load(), as in a new daemon. */
  forgetAll(): void {
    for (const run of this.#runs.values()) run.known = false;
  }

  async start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer> {
    const { id } = bundle;
    if (this.#runs.get(id)?.known === true) {
      throw new RuntimeError("already-exists", `start container "${id}": it was started already`);
    }
    try {
      await operation.enter("make-bundle");
      this.#host.make("bundle", id);
      await operation.enter("create-process");
      this.#host.make("process", id);
      await this.trouble.at("start", operation.signal);
      await bundle.beforeCommand?.(this.#lastPid + 1);
      await operation.enter("start-process");
    } catch (error) {
      this.#host.remove("process", id);
      this.#host.remove("bundle", id);
      throw error;
    }
    this.#lastPid++;
    const started: StartedContainer = {
      process: { pid: this.#lastPid, startTime: "2" },
      monitor: undefined,
      startedAtNs: this.#clock.nowNs(),
    };
    const end = Promise.withResolvers<ContainerExit>();
    this.#runs.set(id, { bundle, started, end, known: true });
    return started;
  }

  async wait(id: string, signal: AbortSignal): Promise<ContainerExit> {
    await this.trouble.at("wait", signal);
    return beforeAbort(this.#known(id).end.promise, signal);
  }

  async load(id: string): Promise<void> {
    await this.trouble.at("load");
    const run = this.#runs.get(id);
    if (run === undefined) throw new RuntimeError("not-found", `load container "${id}": no bundle`);
    run.known = true;
    if (!this.#host.has("process", id)) this.exit(id, { exitCode: 255, unknown: true });
  }

  async spec(id: string): Promise<OciSpec | undefined> {
    return this.#runs.get(id)?.bundle.spec;
  }

  async loadUnrecorded(id: string): Promise<StartedContainer | undefined> {
    await this.trouble.at("loadUnrecorded");
    const run = this.#runs.get(id);
    if (run === undefined) return undefined;
    run.known = true;
    return run.started;
  }

  async kill(id: string, signalNumber: number): Promise<void> {
    await this.trouble.at("kill");
    const earlier = this.signals.get(id) ?? [];
    this.signals.set(id, [...earlier, signalNumber]);
    this.paused.delete(id);
    if (!this.stubborn.has(id)) this.exit(id, { exitCode: 128 + signalNumber });
  }

  async killAll(id: string): Promise<void> {
    await this.trouble.at("killAll");
    this.exit(id, { exitCode: 137 });
  }

  async execSync(id: string, process: OciProcess, { signal }: Operation): Promise<ExecResult> {
    this.#known(id);
    this.command = { process };
    await this.trouble.at("execSync", signal);
    return this.result;
  }

  async exec(
    id: string,
    process: OciProcess,
    client: ProcessClient,
    { signal }: Operation,
  ): Promise<ExecEnd> {
    this.#known(id);
    this.command = { process, client };
    await this.trouble.at("exec", signal);
    client.streams.onStarted?.();
    await this.talk?.(client.streams, signal);
    return { exitCode: this.result.exitCode };
  }

  async attach(id: string, client: AttachedClient, operation: Operation): Promise<void> {
    await operation.enter("connect");
    this.attached = client;
    await this.trouble.at("attach", operation.signal);
    client.streams.onStarted?.();
    await beforeAbort(this.#known(id).end.promise, operation.signal);
  }

  async update(
    id: string,
    limits: ContainerLimits,
    signal: AbortSignal,
  ): Promise<() => Promise<void>> {
    await this.trouble.at("update", signal);
    this.#known(id);
    if (!this.#host.has("process", id)) {
      throw new RuntimeError("failed-precondition", `update container "${id}": it has ended`);
    }
    const before = this.limits.get(id);
    this.limits.set(id, limits);
    return async () => {
      if (before === undefined) this.limits.delete(id);
      else this.limits.set(id, before);
    };
  }

  async reopenLog(
    _id: string,
    logPath: string,
    operation?: Pick<Operation, "enter">,
  ): Promise<void> {
    await operation?.enter("publish-log");
    await this.trouble.at("reopenLog");
    this.reopened.set(logPath, (this.reopened.get(logPath) ?? 0) + 1);
  }

  async completeRotation(id: string): Promise<boolean> {
    await this.trouble.at("completeRotation");
    return this.stuckRotations.delete(id);
  }

  async remove(id: string, operation?: Pick<Operation, "enter">): Promise<void> {
    await operation?.enter("remove-files");
    await this.trouble.at("remove");
    this.exit(id, { exitCode: 137 });
    this.#host.remove("process", id);
    this.#host.remove("bundle", id);
    this.#runs.delete(id);
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    await this.trouble.at("orphans");
    return this.#host.idsOf("bundle").filter((id) => !known.has(id));
  }

  #known(id: string): Run {
    const run = this.#runs.get(id);
    if (run?.known === true) return run;
    throw new RuntimeError("not-found", `find container "${id}": it was not started here`);
  }
}
