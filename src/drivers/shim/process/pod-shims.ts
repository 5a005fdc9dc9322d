import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";

import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { messageOf, RuntimeError } from "../../../base/errors.ts";
import { KeyedLock } from "../../../base/keyed-lock.ts";
import type { Logger } from "../../../base/logger.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import { Semaphore } from "../../../base/semaphore.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { openProcess, processStartTime } from "../../../linux/process/index.ts";
import { TtrpcClient } from "../../../wire/ttrpc/index.ts";
import { parseBootstrap } from "./bootstrap.ts";
import { readShimState, type ShimState, writeState } from "./shim-state.ts";
import type { StateLayout } from "./state-layout.ts";
import { deleteTask, type ShimEnvironment, startShim } from "./shim-binary.ts";
import { askForProcess, findShimProcess, killShim, removeSocket } from "./shim-process.ts";
import { ShimLog } from "./shim-log.ts";
import { TaskClient } from "./task-client.ts";

/** A connection to the shim of a pod. */
export interface PodShim {
  readonly task: TaskClient;
  readonly client: TtrpcClient;
  readonly process: ProcessIdentity | undefined;
}

/** Which shim a pod has. */
export interface ShimChoice {
  readonly program: string;
  readonly options: Any;
  /** It makes the pod's sandbox, and so lives as long as that. */
  readonly sandboxer?: boolean;
}

interface Deps {
  readonly places: StateLayout;
  readonly environment: ShimEnvironment;
  readonly log: Logger;
}

/** After a restart of the daemon: how many shims are asked at once, and how long each may take. */
const parallelConnects = 64;
const connectMs = 2_000;
/** How long a shim may take to end when it is asked to. */
const shutdownMs = 3_000;

/** The shims of pods: one a pod, started for its first container, ended after its last one. */
export class PodShims {
  readonly #deps: Deps;
  readonly #shims = new Map<string, PodShim>();
  readonly #logs = new Map<string, ShimLog>();
  readonly #locks = new KeyedLock();
  readonly #turns = new Semaphore(parallelConnects);

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /**
   * The shim of the pod; started where there is none. `unavailable` where there is one that does not
   * answer: beside that another one must not run.
   */
  async open(sandboxId: string, choice: ShimChoice, signal: AbortSignal): Promise<PodShim> {
    using _turn = await this.#locks.acquire(sandboxId, signal);
    const known = this.#shims.get(sandboxId) ?? (await this.#reconnect(sandboxId));
    if (known !== undefined) return known;
    if (await this.isAlive(sandboxId)) throw noAnswer(sandboxId);
    return await beforeAbort(this.#start(sandboxId, choice, signal), signal);
  }

  /**
   * The shim of the pod, if there is one that answers: of this daemon or of an earlier one, which is
   * given 2 s to accept.
   */
  async find(sandboxId: string): Promise<PodShim | undefined> {
    const known = this.#shims.get(sandboxId);
    if (known !== undefined) return known;
    using _turn = await this.#locks.acquire(sandboxId);
    return this.#shims.get(sandboxId) ?? (await this.#reconnect(sandboxId));
  }

  /** Like find(); `unavailable` where there is none that answers. */
  async get(sandboxId: string): Promise<PodShim> {
    const shim = await this.find(sandboxId);
    if (shim === undefined) throw noAnswer(sandboxId);
    return shim;
  }

  /**
   * Ends the shim and takes away what it had, unless it is `needed` when its turn comes: asks it
   * first, then kills it. One that made the pod's sandbox goes only where that is said. Idempotent.
   */
  async shutdown(
    sandboxId: string,
    needed: () => boolean,
    also: { readonly sandboxer: boolean } = { sandboxer: false },
  ): Promise<void> {
    using _turn = await this.#locks.acquire(sandboxId);
    if (needed()) return;
    const { places } = this.#deps;
    const facts = await this.#facts(sandboxId);
    if (facts?.sandboxer === true && !also.sandboxer) return;
    await this.#end(sandboxId, facts);
    if (facts !== undefined) {
      await removeSocket(facts.socketPath);
      if (facts.sandboxer) await this.#deleteSandbox(sandboxId, facts);
    }
    this.#forget(sandboxId);
    await rm(places.pod(sandboxId), { recursive: true, force: true });
  }

  /**
   * Kills a shim that does not answer, with whatever it has started, so that its tasks can be taken
   * away by its `delete`. `known` is the one that is meant, where that is known: the pod may have
   * another one by now.
   */
  async kill(sandboxId: string, known?: ProcessIdentity): Promise<void> {
    const shim = this.#shims.get(sandboxId);
    const identity = known ?? (await this.#processOf(sandboxId));
    if (identity === undefined) return;
    using process = openProcess(identity.pid, BigInt(identity.startTime));
    await killShim(process, sandboxId);
    if (shim?.process?.pid === identity.pid) shim.client.close();
  }

  /** Whether the shim's process runs, answering or not. False where that cannot be said. */
  async isAlive(sandboxId: string): Promise<boolean> {
    const identity = await this.#processOf(sandboxId);
    return identity !== undefined && runs(identity);
  }

  /** Whether the pod's shim has made its sandbox. */
  async isSandboxer(sandboxId: string): Promise<boolean> {
    return (await this.#facts(sandboxId))?.sandboxer === true;
  }

  /** The bundle of the pod's shim. */
  bundle(sandboxId: string): string {
    return this.#deps.places.pod(sandboxId);
  }

  /** Where runc's shim has its OCI runtime keep its state. */
  get runtimeRoot(): string {
    return this.#deps.places.runtimeRoot;
  }

  /** The pods that there are shims of, or that something of a shim is left of. */
  pods(): Promise<readonly string[]> {
    return readdir(this.#deps.places.pods);
  }

  /** Lets go of all connections: the shims go on without this daemon. */
  close(): void {
    for (const { client } of this.#shims.values()) client.close();
    for (const log of this.#logs.values()) log.close();
  }

  async #start(sandboxId: string, choice: ShimChoice, signal: AbortSignal): Promise<PodShim> {
    const { places, environment, log } = this.#deps;
    const bundle = places.pod(sandboxId);
    // Of one that died, and whose fifo is another file.
    this.#forget(sandboxId);
    await rm(bundle, { recursive: true, force: true });
    await mkdir(bundle, { mode: 0o700 });
    // By this a shim groups: it must not share one with another pod, nor start one a container.
    const annotations = {
      "io.kubernetes.cri.container-type": "sandbox",
      "io.kubernetes.cri.sandbox-id": sandboxId,
    };
    const spec = JSON.stringify({ ociVersion: "1.1.0", annotations });
    await writeFile(places.podFile(sandboxId, "config.json"), spec, { mode: 0o600 });
    const options = toBinary(AnySchema, create(AnySchema, choice.options));
    await writeFile(places.podFile(sandboxId, "options.pb"), options, { mode: 0o600 });
    this.#listen(sandboxId);
    const started = await startShim({
      program: choice.program,
      environment,
      id: sandboxId,
      bundle,
      options: choice.options,
      debug: false,
      signal,
    });
    log.debug("a shim was started", { sandbox: sandboxId, socket: started.socketPath });
    const { program, sandboxer = false } = choice;
    const facts = { program, ...started, process: undefined, sandboxer };
    // Before anything else is asked of it, so that nobody loses it.
    await writeState(places.podFile(sandboxId, "shim.json"), facts);
    return this.#connect(sandboxId, facts);
  }

  /** Asks the shim to end, then kills it. */
  async #end(sandboxId: string, facts: ShimState | undefined): Promise<void> {
    const known = await this.#processOf(sandboxId);
    // One that has ended by itself, as a sandboxer that was told to, is not looked for.
    const asked = facts !== undefined && (known === undefined || runs(known));
    const shim =
      this.#shims.get(sandboxId) ?? (asked ? await this.#reconnect(sandboxId, facts) : undefined);
    const identity = shim?.process ?? known;
    using process =
      identity === undefined ? undefined : openProcess(identity.pid, BigInt(identity.startTime));
    if (shim !== undefined) {
      const ended = shim.task.call(
        Task.method.shutdown,
        { id: sandboxId, now: true },
        { timeoutMs: shutdownMs },
      );
      // It may end before it has answered.
      ended.catch(() => undefined);
      await within(process?.exited ?? shim.client.closed, shutdownMs);
      shim.client.close();
    }
    if (!(await killShim(process, sandboxId))) {
      this.#deps.log.warn("a shim does not end", { sandbox: sandboxId, pid: process?.pid });
    }
  }

  /** Has the shim's program take away what a sandboxer that was killed could not. */
  async #deleteSandbox(sandboxId: string, { program }: ShimState): Promise<void> {
    const { environment, log, places } = this.#deps;
    try {
      await deleteTask({ program, environment, id: sandboxId, bundle: places.pod(sandboxId) });
    } catch (error) {
      log.debug(`delete sandbox "${sandboxId}": ${messageOf(error)}`, { sandbox: sandboxId });
    }
  }

  async #reconnect(sandboxId: string, known?: ShimState): Promise<PodShim | undefined> {
    const facts = known ?? (await this.#facts(sandboxId));
    if (facts === undefined) return undefined;
    using _turn = await this.#turns.acquire();
    try {
      this.#listen(sandboxId);
      return await this.#connect(sandboxId, facts);
    } catch (error) {
      const text = `the shim of sandbox "${sandboxId}" does not answer: ${messageOf(error)}`;
      this.#deps.log.warn(text, { sandbox: sandboxId });
      return undefined;
    }
  }

  async #connect(sandboxId: string, facts: ShimState): Promise<PodShim> {
    const client = await TtrpcClient.connect(facts.socketPath, { timeoutMs: connectMs });
    const task = new TaskClient(client, facts.version);
    try {
      const process = await askForProcess(task, sandboxId, connectMs);
      if (process !== undefined && process.pid !== facts.process?.pid) {
        const path = this.#deps.places.podFile(sandboxId, "shim.json");
        await writeState(path, { ...facts, process });
      }
      const shim = { client, task, process };
      this.#shims.set(sandboxId, shim);
      void client.closed.then(() => {
        if (this.#shims.get(sandboxId) === shim) this.#shims.delete(sandboxId);
      });
      return shim;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** What is known of the pod's shim; of one whose start was cut short, what it wrote itself. */
  async #facts(sandboxId: string): Promise<ShimState | undefined> {
    const { places } = this.#deps;
    const facts = await readShimState(places.podFile(sandboxId, "shim.json"));
    if (facts !== undefined) return facts;
    try {
      const address = await readFile(places.podFile(sandboxId, "address"), "utf8");
      return { program: "", ...parseBootstrap(address), process: undefined, sandboxer: false };
    } catch (error) {
      if (errnoCode(error) === "ENOENT" || error instanceof RuntimeError) return undefined;
      throw error;
    }
  }

  /** The shim's process; of one that never told it, by its command line, as containerd's shims have it. */
  async #processOf(sandboxId: string): Promise<ProcessIdentity | undefined> {
    const known = this.#shims.get(sandboxId)?.process ?? (await this.#facts(sandboxId))?.process;
    if (known !== undefined || !existsSync(this.bundle(sandboxId))) return known;
    return findShimProcess(sandboxId);
  }

  #listen(sandboxId: string): void {
    if (this.#logs.has(sandboxId)) return;
    const path = this.#deps.places.podFile(sandboxId, "log");
    this.#logs.set(sandboxId, ShimLog.open(path, this.#deps.log.with({ sandbox: sandboxId })));
  }

  #forget(sandboxId: string): void {
    this.#shims.get(sandboxId)?.client.close();
    this.#shims.delete(sandboxId);
    this.#logs.get(sandboxId)?.close();
    this.#logs.delete(sandboxId);
  }
}

function runs({ pid, startTime }: ProcessIdentity): boolean {
  return processStartTime(pid) === BigInt(startTime);
}

function noAnswer(sandboxId: string): RuntimeError {
  const text = `ask shim of sandbox "${sandboxId}": it does not answer; a stop of the pod ends it`;
  return new RuntimeError("unavailable", text);
}
