import { type ErrorKind, messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type {
  Attachment,
  NetworkRequest,
  NetworkStatus,
  PluginListeners,
  PluginObserver,
  PodNetwork,
  ValidAttachment,
} from "../../core/network/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { SandboxNetwork } from "../../core/sandbox/index.ts";
import { isNamespaceMounted } from "../../linux/namespace/index.ts";
import { attachmentArgs, parseAttachmentArgs, parsePodCidrs } from "./attachment-args.ts";
import { RunnerChoice } from "./choice.ts";
import { ConfDir } from "./conf-dir.ts";
import { type JsonObject, type NetworkList, parseNetworkList } from "./conflist.ts";
import { codeUnknownContainer, PluginError } from "./plugin-error.ts";
import { execOnHost, type PluginExec } from "./plugin-exec.ts";
import { type CallTarget, PluginRunner } from "./plugin-runner.ts";
import { parseResult, podAddresses } from "./result.ts";
import { StatusProbe } from "./status-probe.ts";
import { isAtLeast } from "./version.ts";

// The name that kubelet, and everything else that inspects a pod, expects.
const podInterface = "eth0";

const defaults = {
  // A whole RunPodSandbox has two minutes; one plugin must leave time to undo.
  pluginTimeoutMs: 60_000,
  // The kernel does one network change at a time (RTNL lock): more in parallel only wait for it.
  maxParallel: 8,
  rescanIntervalMs: 5_000,
  statusIntervalMs: 30_000,
};

/** The settings of a {@link CniNetwork}. */
export interface CniNetworkOptions {
  /** Directory of the network configurations; the first valid file in it is the pod network. */
  readonly confDir: string;
  /** Directories of the plugins, searched in order. */
  readonly binDirs: readonly string[];
  /** The boot that this daemon runs in: network namespaces of other boots do not exist. */
  readonly bootId: string;
  readonly log: Logger;
  /** Whether davit itself does what the plugins would do, where it knows all of it; false. */
  readonly builtin?: boolean;
  /** How long one plugin may take before it is killed. Milliseconds. */
  readonly pluginTimeoutMs?: number;
  /** How many ADDs, and separately how many DELs, run at the same time. */
  readonly maxParallel?: number;
  /** How often the directory is scanned in addition to watching it. Milliseconds. */
  readonly rescanIntervalMs?: number;
  /** How often the plugins are asked for their STATUS. Milliseconds. */
  readonly statusIntervalMs?: number;
  /** Environment that plugins inherit; CNI_* in it is dropped. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly exec?: PluginExec;
  readonly onPluginRun?: PluginObserver | undefined;
  /** Whether a namespace is mounted at the path. */
  readonly isNamespaceMounted?: (path: string) => boolean;
}

/**
 * The pod network of one configuration directory, by executing CNI plugins or by doing what they would do. CHECK is never called, so
 * `disableCheck` has nothing to disable. The daemon makes one for every directory that a handler
 * names; any of them can remove an attachment of any other, which has all that is needed.
 */
export class CniNetwork implements PodNetwork, AsyncDisposable {
  readonly #options: CniNetworkOptions;
  readonly #runner: PluginRunner;
  readonly #choice: RunnerChoice;
  readonly #dir: ConfDir;
  readonly #probe: StatusProbe;
  readonly #maxParallel: number;
  // Separate, so that hanging DELs do not block the start of pods.
  readonly #adding: Semaphore;
  readonly #deleting: Semaphore;
  readonly #collecting = new Semaphore(1);
  readonly #isNamespaceMounted: (path: string) => boolean;
  #podCidrs: readonly string[] = [];
  #missing: readonly string[] = [];
  /** Of the current network: why its plugins run. Undefined: davit carries it out itself. */
  #reason: string | undefined = "not read yet";
  #choosing = Promise.resolve();

  private constructor(options: CniNetworkOptions) {
    this.#options = options;
    this.#maxParallel = options.maxParallel ?? defaults.maxParallel;
    this.#adding = new Semaphore(this.#maxParallel);
    this.#deleting = new Semaphore(this.#maxParallel);
    this.#isNamespaceMounted = options.isNamespaceMounted ?? isNamespaceMounted;
    const running = {
      onRun: options.onPluginRun,
      timeoutMs: options.pluginTimeoutMs ?? defaults.pluginTimeoutMs,
    };
    this.#runner = new PluginRunner({
      ...running,
      binDirs: options.binDirs,
      env: options.env ?? process.env,
      exec: options.exec ?? execOnHost,
    });
    const { builtin = false } = options;
    this.#choice = new RunnerChoice({ ...running, builtin, plugins: this.#runner });
    this.#probe = new StatusProbe({
      runner: this.#runner,
      log: options.log,
      intervalMs: options.statusIntervalMs ?? defaults.statusIntervalMs,
    });
    this.#dir = new ConfDir({
      dir: options.confDir,
      log: options.log,
      rescanIntervalMs: options.rescanIntervalMs ?? defaults.rescanIntervalMs,
      onScan: () => this.#onScan(),
    });
  }

  /** Loads the configuration and starts to watch it. Never fails for an invalid one: see status(). */
  static async open(options: CniNetworkOptions): Promise<CniNetwork> {
    const network = new CniNetwork(options);
    await network.#dir.scan();
    await network.#choosing;
    return network;
  }

  /**
   * Takes the node's pod CIDRs (UpdateRuntimeConfig; comma separated) for the plugins that declare
   * the capability ipRanges. Throws `invalid-argument`.
   */
  setPodCidr(cidrs: string): void {
    this.#podCidrs = parsePodCidrs(cidrs);
  }

  async add(
    request: NetworkRequest,
    operation: Operation,
    record: (attachment: Attachment) => Promise<void> | void,
  ): Promise<SandboxNetwork> {
    const list = await this.#current();
    const args = attachmentArgs(request, this.#podCidrs);
    using _turn = await this.#adding.acquire(operation.signal);
    const attachment: Attachment = {
      sandboxId: request.sandboxId,
      ifName: podInterface,
      netnsPath: request.netnsPath,
      conflist: list.text,
      args: JSON.stringify(args),
      result: undefined,
      bootId: this.#options.bootId,
      removal: undefined,
    };
    await record(attachment);
    const { sandboxId, netnsPath, ifName } = attachment;
    try {
      const last = await this.#addAll(list, { sandboxId, netnsPath, ifName, args }, operation);
      // Recorded before it is checked: DEL needs the result of ADD.
      await record({ ...attachment, result: last.text });
      return { ips: podAddresses(last.result, ifName), result: last.text };
    } catch (error) {
      throw wrap(`add network "${list.name}" to sandbox "${sandboxId}"`, error);
    }
  }

  async #addAll(
    list: NetworkList,
    target: CallTarget,
    operation: Operation,
  ): Promise<{ readonly text: string; readonly result: JsonObject }> {
    const { runner } = await this.#choice.of(list);
    let text = "{}";
    let result: JsonObject | undefined;
    for (const plugin of list.plugins) {
      operation.workOn("add-network", plugin.type);
      const call = { command: "ADD", list, plugin, target, signal: operation.signal } as const;
      text = (await runner.run({ ...call, ...(result && { prevResult: result }) })).trim();
      try {
        result = parseResult(text, list.cniVersion);
      } catch (error) {
        throw rekind("internal", `plugin ${plugin.type}: read its result`, error);
      }
      await operation.enter("network-plugin-done", plugin.type);
    }
    return { text, result: result ?? {} };
  }

  async remove(
    attachment: Attachment,
    options: { readonly signal: AbortSignal } & PluginListeners,
  ): Promise<void> {
    const { sandboxId, ifName } = attachment;
    const { list, args, prevResult } = readRecord(attachment);
    using _turn = await this.#deleting.acquire(options.signal);
    const netnsPath = this.#isNamespaceGone(attachment) ? "" : attachment.netnsPath;
    const target = { sandboxId, netnsPath, ifName, args };
    // Whoever made it: both leave the same, and each removes what the other has made.
    const { runner } = await this.#choice.of(list);
    // Continues after a failure: an address must be freed even if the firewall's plugin is broken.
    // The next attempt calls all of them again, which DEL must allow (specification, section 2).
    let failure: { readonly error: unknown } | undefined;
    for (const plugin of list.plugins.toReversed()) {
      options.onPlugin?.(plugin.type);
      try {
        const call = { command: "DEL", list, plugin, target, signal: options.signal } as const;
        await runner.run({ ...call, ...(prevResult && { prevResult }) });
        await options.onPluginDone?.(plugin.type);
      } catch (error) {
        const isClean = error instanceof PluginError && error.code === codeUnknownContainer;
        if (!isClean) failure ??= { error };
      }
      if (options.signal.aborted) break;
    }
    const doing = `remove network "${list.name}" from sandbox "${sandboxId}"`;
    if (failure !== undefined) throw wrap(doing, failure.error);
    if (options.signal.aborted) throw wrap(doing, options.signal.reason);
  }

  /**
   * Passes the existing attachments to the plugins, so that they delete resources of others (CNI GC). Does
   * nothing when the configuration is older than 1.1.0 or has `disableGC`. ADD and DEL wait meanwhile.
   * Calls all plugins and then throws their errors as one.
   */
  async collect(
    valid: () => readonly ValidAttachment[],
    options: { readonly signal: AbortSignal },
  ): Promise<void> {
    const list = this.#dir.state.network?.list;
    if (list === undefined || list.disableGc || !isAtLeast(list.cniVersion, "1.1.0")) return;
    await using _alone = await this.#waitUntilAlone(options.signal);
    const attachments = valid().map(({ sandboxId, ifName }) => ({
      containerID: sandboxId,
      ifname: ifName,
    }));
    // The second name is that of the specification's first print; plugins were written to both.
    const extra = { "cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments };
    const errors: RuntimeError[] = [];
    for (const plugin of list.plugins) {
      try {
        await this.#runner.run({ command: "GC", list, plugin, extra, signal: options.signal });
      } catch (error) {
        errors.push(wrap("", error));
      }
      if (options.signal.aborted) break;
    }
    const [first] = errors;
    if (first === undefined) return;
    const all = errors.map((error) => messageOf(error.cause)).join("; ");
    throw new RuntimeError(first.kind, `collect garbage of network "${list.name}": ${all}`, {
      cause: first.cause,
    });
  }

  // Specification 1.1.0, section 3, "Lifecycle & Ordering": GC never runs at the same time as ADD or DEL.
  async #waitUntilAlone(signal: AbortSignal): Promise<AsyncDisposable> {
    await using held = new AsyncDisposableStack();
    held.use(await this.#collecting.acquire(signal));
    for (const turns of [this.#adding, this.#deleting]) {
      for (let turn = 0; turn < this.#maxParallel; turn++) held.use(await turns.acquire(signal));
    }
    return held.move();
  }

  /** The number of ADDs and of DELs that wait for others. */
  get waiting(): { readonly add: number; readonly del: number } {
    return { add: this.#adding.waiting, del: this.#deleting.waiting };
  }

  status(): NetworkStatus {
    const reason = this.#notReady();
    return reason === undefined ? { ready: true } : { ready: false, reason };
  }

  /** `cniconfig` and `lastCNILoadStatus` have the keys of containerd's, which tools read. */
  describe(): Readonly<Record<string, unknown>> {
    const { network, reason, invalid } = this.#dir.state;
    const plugins = network?.list.plugins.map(({ type, config, capabilities }) => ({
      Network: { type, capabilities },
      Source: JSON.stringify(config),
    }));
    const config = network && {
      Name: network.list.name,
      CNIVersion: network.list.cniVersion,
      Plugins: plugins,
      Source: network.list.text,
      File: network.file,
    };
    return {
      cniconfig: {
        PluginDirs: this.#options.binDirs,
        PluginConfDir: this.#options.confDir,
        PluginMaxConfNum: 1,
        Networks: config === undefined ? [] : [{ Config: config, IFName: podInterface }],
      },
      lastCNILoadStatus: reason ?? "OK",
      builtinNetwork:
        this.#reason === undefined ? { inForce: true } : { inForce: false, reason: this.#reason },
      invalidFiles: invalid,
    };
  }

  /** Stops watching and a STATUS in progress. Their callers end ADD and DEL in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#dir[Symbol.dispose]();
    await this.#probe[Symbol.asyncDispose]();
  }

  async #current(): Promise<NetworkList> {
    if (this.#dir.state.network === undefined) await this.#dir.scan();
    const { network, reason } = this.#dir.state;
    if (network !== undefined) return network.list;
    throw new RuntimeError("unavailable", `find the pod network: ${reason ?? ""}`);
  }

  #notReady(): string | undefined {
    const { network, reason } = this.#dir.state;
    if (network === undefined) return reason ?? "no network configuration";
    const [missing] = this.#missing;
    if (missing === undefined) return this.#probe.failure;
    return `network "${network.list.name}" ("${network.file}"): ${this.#runner.missing(missing)}`;
  }

  #onScan(): void {
    const list = this.#dir.state.network?.list;
    this.#choosing = this.#choosing.then(() => this.#look(list));
  }

  /** Never rejects. */
  async #look(list: NetworkList | undefined): Promise<void> {
    this.#choice.forget();
    const choice = list === undefined ? undefined : await this.#choice.of(list);
    this.#reason = choice === undefined ? "there is no network" : choice.reason;
    const needsPlugins = list !== undefined && this.#reason !== undefined;
    this.#missing = needsPlugins ? this.#runner.findMissing(list) : [];
    // A missing plugin cannot answer, and the reason would be reported twice.
    if (this.#missing.length === 0) this.#probe.watch(list);
  }

  #isNamespaceGone({ bootId, netnsPath }: Attachment): boolean {
    return bootId !== this.#options.bootId || !this.#isNamespaceMounted(netnsPath);
  }
}

function rekind(kind: ErrorKind, doing: string, cause: unknown): RuntimeError {
  return new RuntimeError(kind, `${doing}: ${messageOf(cause)}`, { cause });
}

function readRecord({ sandboxId, conflist, args, result }: Attachment): {
  readonly list: NetworkList;
  readonly args: CallTarget["args"];
  readonly prevResult: JsonObject | undefined;
} {
  try {
    const list = parseNetworkList(conflist);
    // DEL has the result of ADD since 0.4.0.
    const hasResult = result !== undefined && isAtLeast(list.cniVersion, "0.4.0");
    const prevResult = hasResult ? parseResult(result, list.cniVersion) : undefined;
    return { list, args: parseAttachmentArgs(args), prevResult };
  } catch (error) {
    throw rekind("data-loss", `read the network record of sandbox "${sandboxId}"`, error);
  }
}
