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
import { deleteTask, KnownInputs, type ShimEnvironment, startShim } from "./shim-binary.ts";
import { askForProcess, findShimProcess, killShim, removeSocket } from "./shim-process.ts";
import { ShimLog } from "./shim-log.ts";
import { streamAddress } from "../streams/streams.ts";
import { TaskClient } from "./task-client.ts";

/** A connection to the shim of a pod. */
export interface PodShim {
  readonly task: TaskClient;
  readonly client: TtrpcClient;
  readonly process: ProcessIdentity | undefined;
  /** Its address in the URLs of streams. */
  readonly address: string;
}

/** The shim to start for a pod. */
export interface ShimChoice {
  readonly program: string;
  readonly options: Any;
  /** It makes the pod's sandbox, and so runs as long as the sandbox. */
  readonly sandboxer?: boolean;
}

interface Deps {
  readonly paths: StateLayout;
  readonly environment: ShimEnvironment;
  readonly log: Logger;
}

/** After a restart of the daemon: how many shims are connected to at the same time, and how long each may take. */
const parallelConnects = 64;
const connectMs = 2_000;
/** How long a shim may take to end after Shutdown. */
const shutdownMs = 3_000;

/** The shims of pods: one for each pod, started for its first container, ended after its last one. */
export class PodShims {
  readonly #deps: Deps;
  readonly #shims = new Map<string, PodShim>();
  readonly #logs = new Map<string, ShimLog>();
  readonly #locks = new KeyedLock();
  readonly #connects = new Semaphore(parallelConnects);
  readonly #inputs = new KnownInputs();

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /**
   * The shim of the pod; started if there is none. `unavailable` if there is one that does not
   * answer: a second shim must not run at the same time.
   */
  async open(sandboxId: string, choice: ShimChoice, signal: AbortSignal): Promise<PodShim> {
    using _lock = await this.#locks.acquire(sandboxId, signal);
    const known = this.#shims.get(sandboxId) ?? (await this.#reconnect(sandboxId));
    if (known !== undefined) return known;
    if (await this.isAlive(sandboxId)) throw noAnswer(sandboxId);
    return await beforeAbort(this.#start(sandboxId, choice, signal), signal);
  }

  /**
   * The shim of the pod, started by this daemon or an earlier one. Undefined if there is none that accepts a
   * connection within 2 s.
   */
  async find(sandboxId: string): Promise<PodShim | undefined> {
    const known = this.#shims.get(sandboxId);
    if (known !== undefined) return known;
    using _lock = await this.#locks.acquire(sandboxId);
    return this.#shims.get(sandboxId) ?? (await this.#reconnect(sandboxId));
  }

  /** Like find(); `unavailable` if there is none that answers. */
  async get(sandboxId: string): Promise<PodShim> {
    const shim = await this.find(sandboxId);
    if (shim === undefined) throw noAnswer(sandboxId);
    return shim;
  }

  /**
   * Ends the shim by Shutdown or by force, and removes its files, unless `isNeeded` returns true once no other call for
   * the shim runs. A shim that made the pod's sandbox is ended only with `sandboxer`. Idempotent.
   */
  async shutdown(
    sandboxId: string,
    isNeeded: () => boolean,
    options: { readonly sandboxer: boolean } = { sandboxer: false },
  ): Promise<void> {
    using _lock = await this.#locks.acquire(sandboxId);
    if (isNeeded()) return;
    const { paths } = this.#deps;
    const state = await this.#state(sandboxId);
    if (state?.sandboxer === true && !options.sandboxer) return;
    await this.#end(sandboxId, state);
    if (state !== undefined) {
      await removeSocket(state.socketPath);
      if (state.sandboxer) await this.#deleteSandbox(sandboxId, state);
    }
    this.#forget(sandboxId);
    await rm(paths.pod(sandboxId), { recursive: true, force: true });
  }

  /**
   * Kills a shim that does not answer, with all processes that it has started, so that its tasks can be removed
   * by its `delete`. `known` is the process of the shim, if the caller knows it: the pod may have
   * another shim by now.
   */
  async kill(sandboxId: string, known?: ProcessIdentity): Promise<void> {
    const shim = this.#shims.get(sandboxId);
    const identity = known ?? (await this.#processOf(sandboxId));
    if (identity === undefined) return;
    using process = openProcess(identity.pid, BigInt(identity.startTime));
    await killShim(process, sandboxId);
    if (shim?.process?.pid === identity.pid) shim.client.close();
  }

  /** Whether the shim's process runs, even if it does not answer. False if its process is not known. */
  async isAlive(sandboxId: string): Promise<boolean> {
    const identity = await this.#processOf(sandboxId);
    return identity !== undefined && runs(identity);
  }

  /** Whether the pod has files of a shim, which are there until the shim is shut down. */
  isKnown(sandboxId: string): boolean {
    return existsSync(this.bundle(sandboxId));
  }

  /** Whether the pod's shim has made its sandbox. */
  async isSandboxer(sandboxId: string): Promise<boolean> {
    return (await this.#state(sandboxId))?.sandboxer === true;
  }

  /** The bundle of the pod's shim. */
  bundle(sandboxId: string): string {
    return this.#deps.paths.pod(sandboxId);
  }

  /** The state directory of the OCI runtime under runc's shim. */
  get runtimeRoot(): string {
    return this.#deps.paths.runtimeRoot;
  }

  /** The pods with a shim, or with files of a shim. */
  pods(): Promise<readonly string[]> {
    return readdir(this.#deps.paths.pods);
  }

  /** Closes all connections; the shims continue without this daemon. */
  close(): void {
    for (const { client } of this.#shims.values()) client.close();
    for (const log of this.#logs.values()) log.close();
  }

  async #start(sandboxId: string, choice: ShimChoice, signal: AbortSignal): Promise<PodShim> {
    const { paths, environment, log } = this.#deps;
    const bundle = paths.pod(sandboxId);
    // Closes the log fifo of a shim that died, as the new one is another file.
    this.#forget(sandboxId);
    await rm(bundle, { recursive: true, force: true });
    await mkdir(bundle, { mode: 0o700 });
    // A shim is shared by the containers of one sandbox-id: neither by several pods, nor one for each container.
    const annotations = {
      "io.kubernetes.cri.container-type": "sandbox",
      "io.kubernetes.cri.sandbox-id": sandboxId,
    };
    const spec = JSON.stringify({ ociVersion: "1.1.0", annotations });
    await writeFile(paths.podFile(sandboxId, "config.json"), spec, { mode: 0o600 });
    const options = toBinary(AnySchema, create(AnySchema, choice.options));
    await writeFile(paths.podFile(sandboxId, "options.pb"), options, { mode: 0o600 });
    this.#listen(sandboxId);
    const started = await startShim({
      program: choice.program,
      environment,
      id: sandboxId,
      bundle,
      options: choice.options,
      debug: false,
      inputs: this.#inputs,
      signal,
    });
    log.debug("a shim was started", { sandbox: sandboxId, socket: started.socketPath });
    const { program, sandboxer = false } = choice;
    const state = { program, ...started, process: undefined, sandboxer };
    // Before any call, so that a later daemon finds the shim.
    await writeState(paths.podFile(sandboxId, "shim.json"), state);
    return this.#connect(sandboxId, state);
  }

  /** Ends the shim by Shutdown, then by force. */
  async #end(sandboxId: string, state: ShimState | undefined): Promise<void> {
    const known = await this.#processOf(sandboxId);
    // A shim that has ended by itself, as a sandboxer after its own shutdown, is not connected to.
    const mayAnswer = state !== undefined && (known === undefined || runs(known));
    const shim =
      this.#shims.get(sandboxId) ??
      (mayAnswer ? await this.#reconnect(sandboxId, state) : undefined);
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
      this.#deps.log.warn("a shim does not end after SIGKILL", {
        sandbox: sandboxId,
        pid: process?.pid,
      });
    }
  }

  /** Runs `delete` of the shim's program, which removes what a sandboxer that was killed has left. */
  async #deleteSandbox(sandboxId: string, { program }: ShimState): Promise<void> {
    const { environment, log, paths } = this.#deps;
    try {
      await deleteTask({ program, environment, id: sandboxId, bundle: paths.pod(sandboxId) });
    } catch (error) {
      log.debug(`failed to delete sandbox "${sandboxId}": ${messageOf(error)}`, {
        sandbox: sandboxId,
      });
    }
  }

  async #reconnect(sandboxId: string, known?: ShimState): Promise<PodShim | undefined> {
    const state = known ?? (await this.#state(sandboxId));
    if (state === undefined) return undefined;
    using _connect = await this.#connects.acquire();
    try {
      this.#listen(sandboxId);
      return await this.#connect(sandboxId, state);
    } catch (error) {
      const text = `the shim of sandbox "${sandboxId}" does not answer: ${messageOf(error)}`;
      this.#deps.log.warn(text, { sandbox: sandboxId });
      return undefined;
    }
  }

  async #connect(sandboxId: string, state: ShimState): Promise<PodShim> {
    const client = await TtrpcClient.connect(state.socketPath, { timeoutMs: connectMs });
    const task = new TaskClient(client, state.version);
    try {
      const process = await askForProcess(task, sandboxId, connectMs);
      if (process !== undefined && process.pid !== state.process?.pid) {
        const path = this.#deps.paths.podFile(sandboxId, "shim.json");
        await writeState(path, { ...state, process });
      }
      const shim = { client, task, process, address: streamAddress(state.socketPath) };
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

  /** The state of the pod's shim; if its start was interrupted, the address that the shim wrote itself. */
  async #state(sandboxId: string): Promise<ShimState | undefined> {
    const { paths } = this.#deps;
    const state = await readShimState(paths.podFile(sandboxId, "shim.json"));
    if (state !== undefined) return state;
    try {
      const address = await readFile(paths.podFile(sandboxId, "address"));
      return { program: "", ...parseBootstrap(address), process: undefined, sandboxer: false };
    } catch (error) {
      if (errnoCode(error) === "ENOENT" || error instanceof RuntimeError) return undefined;
      throw error;
    }
  }

  /** The shim's process; if the shim has not reported it, found by the command line of containerd's shims. */
  async #processOf(sandboxId: string): Promise<ProcessIdentity | undefined> {
    const known = this.#shims.get(sandboxId)?.process ?? (await this.#state(sandboxId))?.process;
    if (known !== undefined || !this.isKnown(sandboxId)) return known;
    return findShimProcess(sandboxId);
  }

  #listen(sandboxId: string): void {
    if (this.#logs.has(sandboxId)) return;
    const path = this.#deps.paths.podFile(sandboxId, "log");
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
