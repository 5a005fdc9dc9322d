import { setTimeout as delay } from "node:timers/promises";

import { isKind, kindOf, messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import { Semaphore } from "../../../base/semaphore.ts";
import type { Clock } from "../../../base/time.ts";
import type { Operation } from "../../../core/operation/index.ts";
import {
  type ControllerStatus,
  type CreatedSandbox,
  namespaceModes,
  type ProcessIdentity,
  type Sandbox,
  type SandboxController,
  type SandboxEnvironment,
  type SandboxExit,
  type StartedSandbox,
  type StatusQuestion,
  usesHostNetwork,
} from "../../../core/sandbox/index.ts";
import type { ReportedUsage, SandboxMeter } from "../../../core/stats/index.ts";
import type { KnownIds } from "../../../core/store/index.ts";
import { NamespaceMode } from "../../../gen/runtime/v1/api_pb.ts";
import { type CgroupLayout } from "../../../linux/cgroup/index.ts";
import {
  isNamespaceMounted,
  type NamespaceWatch,
  pinNamespaces,
  unpinNamespace,
} from "../../../linux/namespace/index.ts";
import { openProcess, processStartTime } from "../../../linux/process/index.ts";
import { killLeftovers } from "../process/shim-process.ts";
import { encodeOptions } from "../process/options.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import { SandboxClient } from "./client.ts";
import { endLeftovers } from "./cleanup.ts";
import { usageOfMetric } from "./metrics.ts";
import { askPlatform, checkPlatform, type SandboxPlatform } from "./platform.ts";
import { shimProgram } from "../process/shim-binary.ts";

/** The files of a pod, which every controller makes in the same way. */
export interface PodFiles {
  netnsPath(id: string): string;
  make(sandbox: Sandbox): Promise<void>;
  paths(sandbox: Sandbox): SandboxEnvironment["files"];
  closeDirectory(sandbox: Sandbox): Promise<void>;
  remove(id: string): Promise<void>;
}

interface Deps {
  readonly shims: PodShims;
  readonly files: PodFiles;
  readonly namespaces: NamespaceWatch;
  readonly cgroups: CgroupLayout;
  /** Whether no other sandbox that is not stopped is in the same cgroup. */
  readonly isAlone: (sandbox: Sandbox) => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A sandbox that this daemon has started or taken up. */
interface Kept {
  readonly exit: Promise<SandboxExit>;
  readonly end: (reason: string, exit?: Omit<SandboxExit, "reason">) => void;
  readonly over: AbortController;
  ended: boolean;
  /** The last answer that was not a verbose one, while it may be told again. */
  status: { readonly atMs: number; readonly answer: Promise<ControllerStatus> } | undefined;
  /** Undefined until its sandboxer has told it. */
  platform: SandboxPlatform | undefined;
}

/** How long a sandboxer may take to end its sandbox before it is killed. Seconds. */
const stopSeconds = 10;
/** How old an answer may be that is told again. Milliseconds. */
const statusMs = 1_000;
const againMs = 500;
const killedMs = 2_000;
/** Its socket is closed before a process that dies is gone. */
const dyingMs = 500;
/** How many sandboxers are asked for metrics at once, and how long each may take. */
const parallelMetrics = 64;
const metricsMs = 2_000;
/** How long a sandboxer may take to tell its platform: when a pod starts, and beside its status. */
const platformMs = { start: 2_000, status: 500 };
const SIGKILL = 9;

/**
 * The controller whose sandboxes a shim makes: Kata, Kuasar and others that serve containerd's
 * sandbox API. davit makes the pod's network namespace and files; all else is the sandboxer's.
 */
export class ShimController implements SandboxController, SandboxMeter {
  readonly name = "shim";
  readonly #deps: Deps;
  readonly #turns = new Semaphore(parallelMetrics);
  readonly #kept = new Map<string, Kept>();

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  async create(sandbox: Sandbox, operation: Operation): Promise<CreatedSandbox> {
    await operation.enter("pin-namespaces");
    if (usesHostNetwork(sandbox.config)) return { netnsPath: undefined };
    const netnsPath = this.#deps.files.netnsPath(sandbox.id);
    await pinNamespaces({ net: netnsPath });
    return { netnsPath };
  }

  async start(sandbox: Sandbox, operation: Operation): Promise<StartedSandbox> {
    const { id, handler } = sandbox;
    const { shims, files, log } = this.#deps;
    const { signal } = operation;
    await operation.enter("make-files");
    await files.make(sandbox);
    await operation.enter("start-shim");
    const { runtimeType = "", runtimePath = "", options = {} } = handler;
    const choice = {
      program: shimProgram(runtimeType, runtimePath),
      options: encodeOptions(runtimeType, options, shims.runtimeRoot),
      sandboxer: true,
    };
    const { client } = await shims.open(id, choice, signal);
    const sandboxer = new SandboxClient(client);
    await operation.enter("create-sandbox");
    await sandboxer.create(sandbox, shims.bundle(id), { signal });
    await operation.enter("start-sandbox");
    const { pid, createdAtNs } = await sandboxer.start(id, { signal });
    const platform = await askPlatform(sandboxer, id, {
      log,
      signal,
      timeoutMs: platformMs.start,
    });
    checkPlatform(id, platform, log);
    this.#keep(sandbox).platform = platform;
    return { process: identityOf(pid), createdAtNs };
  }

  async stop(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    const { id } = sandbox;
    const kept = this.#kept.get(id);
    kept?.end("it was stopped");
    const isShimGone = await beforeAbort(this.#stopAtSandboxer(id), signal);
    if (sandbox.process !== undefined) await beforeAbort(endProcess(sandbox.process), signal);
    // A shim that lives may need what it has started until it is shut down.
    if (isShimGone) await beforeAbort(endLeftovers(sandbox, this.#deps), signal);
  }

  async closeNamespaces(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    const path = this.#deps.files.netnsPath(sandbox.id);
    this.#deps.namespaces.delete(path);
    await beforeAbort(unpinNamespace(path), signal);
  }

  async shutdown(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    const { id } = sandbox;
    await this.stop(sandbox, signal);
    await beforeAbort(this.#endShim(id), signal);
    await beforeAbort(endLeftovers(sandbox, this.#deps), signal);
    await this.closeNamespaces(sandbox, signal);
    await beforeAbort(this.#deps.files.remove(id), signal);
    this.#kept.delete(id);
  }

  async status(sandbox: Sandbox, question: StatusQuestion): Promise<ControllerStatus> {
    const kept = this.#kept.get(sandbox.id);
    if (question.verbose) return this.#askForAll(sandbox.id, kept, question.signal);
    if (kept === undefined) return this.#ask(sandbox.id, false, question.signal);
    const nowMs = performance.now();
    if (kept.status === undefined || nowMs - kept.status.atMs > statusMs) {
      const answer = this.#ask(sandbox.id, false, question.signal);
      const mine = { atMs: nowMs, answer };
      kept.status = mine;
      answer.catch(() => {
        if (kept.status === mine) kept.status = undefined;
      });
    }
    return kept.status.answer;
  }

  async usage({ id }: Sandbox): Promise<ReportedUsage | undefined> {
    const { shims, clock, log } = this.#deps;
    using _turn = await this.#turns.acquire();
    const shim = await shims.find(id);
    if (shim === undefined) return undefined;
    try {
      const metric = await new SandboxClient(shim.client).metrics(id, { timeoutMs: metricsMs });
      return usageOfMetric(metric, clock.nowNs());
    } catch (error) {
      log.debug(`ask for metrics of sandbox "${id}": ${messageOf(error)}`, { sandbox: id });
      // What it said before stands, if it is only late.
      if (isKind(error, "deadline-exceeded")) throw error;
      return undefined;
    }
  }

  environment(sandbox: Sandbox): SandboxEnvironment {
    const { pid } = sandbox.process ?? {};
    const modes = namespaceModes(sandbox.config);
    const hostNetwork = usesHostNetwork(sandbox.config);
    return {
      pins: {
        ...(hostNetwork ? {} : { net: this.#deps.files.netnsPath(sandbox.id) }),
        ...(pid === undefined || hostNetwork ? {} : { uts: `/proc/${pid}/ns/uts` }),
        ...(pid === undefined || modes.ipc === NamespaceMode.NODE
          ? {}
          : { ipc: `/proc/${pid}/ns/ipc` }),
      },
      ...(pid === undefined ? {} : { pid }),
      files: this.#deps.files.paths(sandbox),
    };
  }

  async wait(sandbox: Sandbox, signal: AbortSignal): Promise<SandboxExit> {
    const kept = this.#kept.get(sandbox.id);
    if (kept !== undefined) return beforeAbort(kept.exit, signal);
    throw new RuntimeError("not-found", `wait for sandbox "${sandbox.id}": it is not running here`);
  }

  async load(sandbox: Sandbox, signal: AbortSignal): Promise<string | undefined> {
    const { id } = sandbox;
    await this.#deps.files.closeDirectory(sandbox);
    const kept = this.#keep(sandbox);
    const shim = await beforeAbort(this.#deps.shims.find(id), signal);
    if (shim === undefined) {
      if (await this.#deps.shims.isAlive(id)) {
        const text = `take up sandbox "${id}": its shim does not answer`;
        throw new RuntimeError("unavailable", text);
      }
      kept.end("its shim is dead");
    }
    return kept.ended ? (await kept.exit).reason : undefined;
  }

  async update(): Promise<void> {
    // The service has no call for it: what the pod may use is in its cgroup, which the caller writes.
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    const { shims } = this.#deps;
    const found: string[] = [];
    for (const id of await shims.pods()) {
      if (!known.has(id) && (await shims.isSandboxer(id))) found.push(id);
    }
    return found;
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    const swept: string[] = [];
    for (const id of await this.orphans(known)) {
      await this.#stopAtSandboxer(id);
      await this.#endShim(id);
      await killLeftovers(id);
      swept.push(`shim of sandbox ${id}`);
    }
    return swept;
  }

  /** Lets go of all that is watched. */
  close(): void {
    for (const kept of this.#kept.values()) kept.over.abort(new Error("the daemon is ending"));
  }

  /** With what is asked for only when somebody wants to know everything. */
  async #askForAll(
    id: string,
    kept: Kept | undefined,
    signal: AbortSignal,
  ): Promise<ControllerStatus> {
    const [status, platform] = await Promise.all([
      this.#ask(id, true, signal),
      kept?.platform ?? this.#askPlatform(id, signal),
    ]);
    if (kept !== undefined) kept.platform = platform;
    return platform === undefined ? status : { ...status, info: { platform, ...status.info } };
  }

  async #askPlatform(id: string, signal: AbortSignal): Promise<SandboxPlatform | undefined> {
    const { shims, log } = this.#deps;
    const shim = await shims.find(id);
    if (shim === undefined) return undefined;
    const sandboxer = new SandboxClient(shim.client);
    return askPlatform(sandboxer, id, { log, signal, timeoutMs: platformMs.status });
  }

  async #ask(id: string, verbose: boolean, signal: AbortSignal): Promise<ControllerStatus> {
    const shim = await beforeAbort(this.#deps.shims.find(id), signal);
    if (shim === undefined) {
      const lives = await this.#deps.shims.isAlive(id);
      // One that hangs is not gone: what was known last stands.
      throw new RuntimeError(
        lives ? "deadline-exceeded" : "unavailable",
        `ask for sandbox "${id}": its shim ${lives ? "does not answer" : "is dead"}`,
      );
    }
    return new SandboxClient(shim.client).status(id, verbose, signal);
  }

  /**
   * Ends the sandbox itself; a sandboxer that hangs is killed. What is gone is stopped. True when the
   * shim is not there any more.
   */
  async #stopAtSandboxer(id: string): Promise<boolean> {
    const { shims, log } = this.#deps;
    const shim = await shims.find(id);
    if (shim === undefined) {
      if (await shims.isAlive(id)) await shims.kill(id);
      return true;
    }
    try {
      await new SandboxClient(shim.client).stop(id, stopSeconds);
      return false;
    } catch (error) {
      const kind = kindOf(error);
      if (kind === "unavailable") return isDying(shim);
      if (kind === "not-found" || kind === "unimplemented") return false;
      log.warn(`stop sandbox "${id}": ${messageOf(error)}; its shim is killed`, { sandbox: id });
      await shims.kill(id, shim.process);
      return true;
    }
  }

  async #endShim(id: string): Promise<void> {
    const { shims, log } = this.#deps;
    const shim = await shims.find(id);
    try {
      if (shim !== undefined) await new SandboxClient(shim.client).shutdown(id);
    } catch (error) {
      // It may end before it has answered.
      if (!isKind(error, "unavailable") && !isKind(error, "not-found"))
        log.warn(`shut sandbox "${id}" down: ${messageOf(error)}`, { sandbox: id });
    }
    await shims.shutdown(id, () => false, { sandboxer: true });
  }

  /** Begins to look after a sandbox: what its sandboxer says, and its network namespace. Idempotent. */
  #keep(sandbox: Sandbox): Kept {
    const { id } = sandbox;
    const known = this.#kept.get(id);
    if (known !== undefined) return known;
    const { promise: exit, resolve } = Promise.withResolvers<SandboxExit>();
    const over = new AbortController();
    const kept: Kept = {
      exit,
      over,
      ended: false,
      status: undefined,
      platform: undefined,
      end: (reason, at = { exitCode: 0, exitedAtNs: this.#deps.clock.nowNs() }) => {
        kept.ended = true;
        kept.status = undefined;
        resolve({ ...at, reason });
        over.abort(new Error("the sandbox has ended"));
      },
    };
    this.#kept.set(id, kept);
    const path = this.#deps.files.netnsPath(id);
    if (!usesHostNetwork(sandbox.config) && isNamespaceMounted(path)) {
      this.#deps.namespaces.add(path, () => kept.end("its net namespace was unmounted"));
    }
    void this.#follow(id, kept);
    return kept;
  }

  /** Waits for the sandbox's end at its sandboxer, whatever becomes of the connection. Never rejects. */
  async #follow(id: string, kept: Kept): Promise<void> {
    const { shims, clock, log } = this.#deps;
    const { signal } = kept.over;
    for (;;) {
      try {
        const shim = await shims.find(id);
        if (shim !== undefined) {
          const { exitCode, exitedAtNs } = await new SandboxClient(shim.client).wait(id, signal);
          const exit = { exitCode, exitedAtNs: exitedAtNs ?? clock.nowNs() };
          kept.end("its sandboxer says that it has ended", exit);
        } else if (!(await shims.isAlive(id))) {
          kept.end("its shim is dead");
        }
      } catch (error) {
        if (isKind(error, "not-found")) kept.end("its sandboxer does not know it any more");
        else log.debug(`wait for sandbox "${id}": ${messageOf(error)}`, { sandbox: id });
      }
      if (isOver(signal)) return;
      await delay(againMs, undefined, { ref: false });
      if (isOver(signal)) return;
    }
  }
}

function identityOf(pid: number): ProcessIdentity | undefined {
  const startTime = pid > 0 ? processStartTime(pid) : undefined;
  return startTime === undefined ? undefined : { pid, startTime: String(startTime) };
}

/** Whether a shim whose connection was lost has ended, or does so now; false where that cannot be said. */
async function isDying({ process: identity }: PodShim): Promise<boolean> {
  if (identity === undefined) return false;
  using process = openProcess(identity.pid, BigInt(identity.startTime));
  return process === undefined || (await within(process.exited, dyingMs));
}

/** Ends the process that stood for a sandbox whose sandboxer did not. */
async function endProcess({ pid, startTime }: ProcessIdentity): Promise<void> {
  using process = openProcess(pid, BigInt(startTime));
  process?.kill(SIGKILL);
  if (process !== undefined) await within(process.exited, killedMs);
}

/** Asked again each time: the compiler takes the first answer for the last. */
function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
