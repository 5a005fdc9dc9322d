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
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import {
  isNamespaceMounted,
  type NamespaceWatch,
  pinNamespaces,
  unpinNamespace,
} from "../../../linux/namespace/index.ts";
import { openProcess, processStartTime, SIGKILL } from "../../../linux/process/index.ts";
import { killLeftovers } from "../process/shim-process.ts";
import { encodeOptions } from "../process/options.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import { SandboxClient } from "./client.ts";
import { endLeftovers } from "./cleanup.ts";
import { usageOfMetric } from "./metrics.ts";
import { askPlatform, checkPlatform, type SandboxPlatform } from "./platform.ts";
import { shimProgram } from "../process/shim-binary.ts";
import { TrackedSandbox } from "./tracked-sandbox.ts";

/** The files of a pod, which are the same with every controller. */
export interface PodFiles {
  netnsPath(id: string): string;
  make(sandbox: Sandbox): Promise<void>;
  paths(sandbox: Sandbox): SandboxEnvironment["files"];
  closeDirectory(sandbox: Sandbox): Promise<unknown>;
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

/** How long a sandboxer may take to end its sandbox before it is killed. Seconds. */
const stopSeconds = 10;
/** How long the kernel may take to end a killed process. */
const killedMs = 2_000;
/** A process that dies closes its socket before it has ended. */
const dyingMs = 500;
/** How many sandboxers are asked for metrics at the same time, and how long each may take. */
const parallelMetrics = 64;
const metricsMs = 2_000;
/** How long a sandboxer may take to report its platform: when a pod starts, and with a verbose status. */
const platformMs = { start: 2_000, status: 500 };

/**
 * The controller whose sandboxes are made by a shim: Kata, Kuasar and others that serve containerd's
 * sandbox API. davit creates the pod's network namespace and files, and the sandboxer everything else.
 */
export class ShimController implements SandboxController, SandboxMeter {
  readonly name = "shim";
  readonly #deps: Deps;
  readonly #metricCalls = new Semaphore(parallelMetrics);
  readonly #sandboxes = new Map<string, TrackedSandbox>();

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
    this.#track(sandbox).platform = platform;
    return { process: identityOf(pid), createdAtNs };
  }

  async stop(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    const { id } = sandbox;
    this.#sandboxes.get(id)?.end("it was stopped");
    const isShimGone = await beforeAbort(this.#stopAtSandboxer(id), signal);
    if (sandbox.process !== undefined) await beforeAbort(endProcess(sandbox.process), signal);
    // A shim that runs may need the processes that it has started until it is shut down.
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
    this.#sandboxes.delete(id);
  }

  async status(sandbox: Sandbox, question: StatusQuestion): Promise<ControllerStatus> {
    const { id } = sandbox;
    const { verbose, signal } = question;
    const tracked = this.#sandboxes.get(id);
    if (verbose) return this.#askVerbose(id, tracked, signal);
    const ask = (): Promise<ControllerStatus> => this.#ask(id, false, signal);
    return tracked === undefined ? ask() : tracked.status(ask);
  }

  async usage({ id }: Sandbox): Promise<ReportedUsage | undefined> {
    const { shims, clock, log } = this.#deps;
    using _call = await this.#metricCalls.acquire();
    const shim = await shims.find(id);
    if (shim === undefined) return undefined;
    try {
      const metric = await new SandboxClient(shim.client).metrics(id, { timeoutMs: metricsMs });
      return usageOfMetric(metric, clock.nowNs());
    } catch (error) {
      log.debug(`failed to get metrics of sandbox "${id}": ${messageOf(error)}`, { sandbox: id });
      // A late answer: the caller keeps the previous usage.
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
    const tracked = this.#sandboxes.get(sandbox.id);
    if (tracked !== undefined) return beforeAbort(tracked.exit, signal);
    throw new RuntimeError("not-found", `wait for sandbox "${sandbox.id}": it is not running here`);
  }

  async load(sandbox: Sandbox, signal: AbortSignal): Promise<string | undefined> {
    const { id } = sandbox;
    await this.#deps.files.closeDirectory(sandbox);
    const tracked = this.#track(sandbox);
    const shim = await beforeAbort(this.#deps.shims.find(id), signal);
    if (shim === undefined) {
      if (await this.#deps.shims.isAlive(id)) {
        const text = `adopt sandbox "${id}": its shim does not answer; a stop of the pod ends it`;
        throw new RuntimeError("unavailable", text);
      }
      tracked.end("its shim is dead");
    }
    return tracked.ended ? (await tracked.exit).reason : undefined;
  }

  async update(): Promise<void> {
    // The sandbox API has no call for it: the pod's limits are in its cgroup, which the caller writes.
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

  /** Stops watching all sandboxes. */
  close(): void {
    for (const tracked of this.#sandboxes.values()) tracked.close();
  }

  /** The verbose status, with the platform. */
  async #askVerbose(
    id: string,
    tracked: TrackedSandbox | undefined,
    signal: AbortSignal,
  ): Promise<ControllerStatus> {
    const [status, platform] = await Promise.all([
      this.#ask(id, true, signal),
      tracked?.platform ?? this.#askPlatform(id, signal),
    ]);
    if (tracked !== undefined) tracked.platform = platform;
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
    const { shims } = this.#deps;
    const shim = await beforeAbort(shims.find(id), signal);
    if (shim === undefined) {
      if (!shims.isKnown(id)) {
        throw new RuntimeError("not-found", `ask for sandbox "${id}": it has no shim`);
      }
      const lives = await shims.isAlive(id);
      // A shim that hangs is not gone: the last known state stays valid.
      throw new RuntimeError(
        lives ? "deadline-exceeded" : "unavailable",
        `ask for sandbox "${id}": its shim ${lives ? "does not answer" : "is dead"}`,
      );
    }
    return new SandboxClient(shim.client).status(id, verbose, signal);
  }

  /**
   * Ends the sandbox at its sandboxer; a sandboxer that hangs is killed. A sandbox without one is stopped. True when
   * the shim has ended.
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
      log.warn(`failed to stop sandbox "${id}", killing its shim: ${messageOf(error)}`, {
        sandbox: id,
      });
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
        log.warn(`failed to shut down sandbox "${id}": ${messageOf(error)}`, { sandbox: id });
    }
    await shims.shutdown(id, () => false, { sandboxer: true });
  }

  /** Begins to watch a sandbox, at its sandboxer and by its network namespace. Idempotent. */
  #track(sandbox: Sandbox): TrackedSandbox {
    const { id } = sandbox;
    const known = this.#sandboxes.get(id);
    if (known !== undefined) return known;
    const tracked = new TrackedSandbox(id, this.#deps);
    this.#sandboxes.set(id, tracked);
    const path = this.#deps.files.netnsPath(id);
    if (!usesHostNetwork(sandbox.config) && isNamespaceMounted(path)) {
      this.#deps.namespaces.add(path, () => tracked.end("its net namespace was unmounted"));
    }
    return tracked;
  }
}

function identityOf(pid: number): ProcessIdentity | undefined {
  const startTime = pid > 0 ? processStartTime(pid) : undefined;
  return startTime === undefined ? undefined : { pid, startTime: String(startTime) };
}

/** Whether a shim whose connection was lost has ended or is ending; false if its process is not known. */
async function isDying({ process: identity }: PodShim): Promise<boolean> {
  if (identity === undefined) return false;
  using process = openProcess(identity.pid, BigInt(identity.startTime));
  return process === undefined || (await within(process.exited, dyingMs));
}

/** Ends the process that represents a sandbox, in case the sandboxer did not. */
async function endProcess({ pid, startTime }: ProcessIdentity): Promise<void> {
  using process = openProcess(pid, BigInt(startTime));
  process?.kill(SIGKILL);
  if (process !== undefined) await within(process.exited, killedMs);
}
