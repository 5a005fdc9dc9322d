import { isDeepStrictEqual } from "node:util";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { BoundHandler } from "../../core/handler/index.ts";
import type { Logger } from "../../base/logger.ts";
import type { Config } from "../../config/config.ts";
import type { PluginObserver, PodNetwork } from "../../core/network/index.ts";
import { CniNetwork } from "../../drivers/cni/index.ts";
import type { LiveConfig, ReloadPart } from "../process/live-config.ts";
import { PodCidrFile } from "./pod-cidr-file.ts";

interface NetworkDeps {
  readonly bootId: string;
  readonly log: Logger;
  readonly onPluginRun: PluginObserver;
}

type ByDirectory = ReadonlyMap<string, CniNetwork>;

/**
 * The pod networks of this daemon: one for each configured directory of network configurations. After a reload, pods
 * whose plugins run meanwhile still get the network of before.
 */
export class Networks implements AsyncDisposable, ReloadPart {
  readonly #live: LiveConfig;
  readonly #deps: NetworkDeps;
  #byDirectory: ByDirectory;
  readonly #podCidrs: PodCidrFile;
  /** The network of most pods. The node's readiness depends on it. */
  readonly default: PodNetwork;

  private constructor(live: LiveConfig, deps: NetworkDeps, byDirectory: ByDirectory) {
    this.#live = live;
    this.#deps = deps;
    this.#byDirectory = byDirectory;
    this.#podCidrs = new PodCidrFile(live.value.root, deps.log);
    this.default = currentNetwork(
      () => this.#main,
      (cidrs) => {
        this.#podCidrs.set(cidrs);
      },
    );
    this.#passPodCidrs();
  }

  static async open(live: LiveConfig, deps: NetworkDeps): Promise<Networks> {
    await using undo = new AsyncDisposableStack();
    const byDirectory = await openAll(live.value, { deps, kept: new Map(), undo });
    const networks = new Networks(live, deps, byDirectory);
    live.add(networks);
    undo.move();
    return networks;
  }

  /** The network for a handler's pods. */
  of(handler: BoundHandler): PodNetwork {
    const directory = this.#live.value.runtime.handlers[handler.name]?.cniConfDir ?? "";
    return this.#byDirectory.get(directory) ?? this.default;
  }

  /** One for each directory. */
  all(): readonly PodNetwork[] {
    return [...this.#byDirectory.values()];
  }

  /** The ADDs and DELs that wait for others, in all networks. */
  waiting(): { readonly add: number; readonly del: number } {
    const all = [...this.#byDirectory.values()].map(({ waiting }) => waiting);
    return {
      add: all.reduce((sum, { add }) => sum + add, 0),
      del: all.reduce((sum, { del }) => sum + del, 0),
    };
  }

  /** Rejects a directory without a network that can be used. */
  async prepare({
    current,
    next,
    undo,
  }: Parameters<ReloadPart["prepare"]>[0]): Promise<() => void> {
    const { confDir: _, ...before } = current.cni;
    const { confDir: _next, ...after } = next.cni;
    const kept: ByDirectory = isDeepStrictEqual(before, after) ? this.#byDirectory : new Map();
    const byDirectory = await openAll(next, { deps: this.#deps, kept, undo });
    for (const [directory, network] of byDirectory) {
      if (kept.get(directory) === network) continue;
      const status = network.status();
      if (status.ready || this.#byDirectory.has(directory)) continue;
      throw new RuntimeError(
        "failed-precondition",
        `use CNI directory "${directory}": ${status.reason}`,
      );
    }
    return () => {
      const old = this.#byDirectory;
      this.#byDirectory = byDirectory;
      this.#passPodCidrs();
      const unused = [...old.values()].filter((each) => !this.all().includes(each));
      for (const network of unused) {
        network[Symbol.asyncDispose]().catch((error: unknown) => {
          this.#deps.log.warn(`failed to close a network: ${messageOf(error)}`);
        });
      }
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const network of this.#byDirectory.values()) await network[Symbol.asyncDispose]();
  }

  #passPodCidrs(): void {
    try {
      this.#main.setPodCidr(this.#podCidrs.text);
    } catch (error) {
      this.#podCidrs.warn("cannot use", error);
    }
  }

  get #main(): CniNetwork {
    const main = this.#byDirectory.get(this.#live.value.cni.confDir);
    if (main === undefined) throw new Error("the network of cni.conf_dir is not open");
    return main;
  }
}

/** The networks of a configuration; those of `kept` are not opened again. `undo` closes those that were opened. */
async function openAll(
  { cni, runtime }: Config,
  {
    deps,
    kept,
    undo,
  }: {
    readonly deps: NetworkDeps;
    readonly kept: ByDirectory;
    readonly undo: AsyncDisposableStack;
  },
): Promise<ByDirectory> {
  const byDirectory = new Map<string, CniNetwork>();
  const handlers = Object.values(runtime.handlers);
  for (const confDir of [cni.confDir, ...handlers.map(({ cniConfDir }) => cniConfDir)]) {
    if (confDir === "" || byDirectory.has(confDir)) continue;
    const network = kept.get(confDir);
    if (network !== undefined) byDirectory.set(confDir, network);
    else {
      const options = {
        confDir,
        binDirs: cni.binDirs,
        builtin: cni.builtin,
        pluginTimeoutMs: cni.pluginTimeoutSeconds * 1000,
        maxParallel: cni.maxParallel,
      };
      byDirectory.set(confDir, undo.use(await CniNetwork.open({ ...options, ...deps })));
    }
  }
  return byDirectory;
}

/** The network in use, whichever that is at each call. */
function currentNetwork(current: () => PodNetwork, setCidrs: (cidrs: string) => void): PodNetwork {
  return {
    add: (request, operation, record) => current().add(request, operation, record),
    remove: (attachment, options) => current().remove(attachment, options),
    collect: (valid, options) => current().collect(valid, options),
    setPodCidr: (cidrs) => {
      current().setPodCidr(cidrs);
      setCidrs(cidrs);
    },
    status: () => current().status(),
    describe: () => current().describe(),
  };
}
