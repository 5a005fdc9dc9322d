import type { BoundHandler } from "../../core/handler/index.ts";
import type { Logger } from "../../base/logger.ts";
import type { Config } from "../../config/config.ts";
import type { PluginObserver, PodNetwork } from "../../core/network/index.ts";
import { CniNetwork } from "../../drivers/cni/index.ts";

/** The pod networks of this daemon: one for each configured directory of network configurations. */
export class Networks implements AsyncDisposable {
  readonly #byDirectory: ReadonlyMap<string, CniNetwork>;
  readonly #directoryOf: (handler: string) => string;
  /** The network of most pods. The node's readiness depends on it. */
  readonly default: CniNetwork;

  private constructor(
    byDirectory: ReadonlyMap<string, CniNetwork>,
    main: CniNetwork,
    config: Config,
  ) {
    this.#byDirectory = byDirectory;
    this.default = main;
    this.#directoryOf = (handler) => config.runtime.handlers[handler]?.cniConfDir ?? "";
  }

  static async open(
    config: Config,
    deps: {
      readonly bootId: string;
      readonly log: Logger;
      readonly onPluginRun: PluginObserver | undefined;
    },
  ): Promise<Networks> {
    const open = (confDir: string): Promise<CniNetwork> =>
      CniNetwork.open({
        confDir,
        binDirs: config.cni.binDirs,
        pluginTimeoutMs: config.cni.pluginTimeoutSeconds * 1000,
        maxParallel: config.cni.maxParallel,
        ...deps,
      });
    const main = await open(config.cni.confDir);
    const byDirectory = new Map([[config.cni.confDir, main]]);
    for (const { cniConfDir } of Object.values(config.runtime.handlers)) {
      if (cniConfDir !== "" && !byDirectory.has(cniConfDir))
        byDirectory.set(cniConfDir, await open(cniConfDir));
    }
    return new Networks(byDirectory, main, config);
  }

  /** The network for a handler's pods. */
  of(handler: BoundHandler): PodNetwork {
    return this.#byDirectory.get(this.#directoryOf(handler.name)) ?? this.default;
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

  async [Symbol.asyncDispose](): Promise<void> {
    for (const network of this.#byDirectory.values()) await network[Symbol.asyncDispose]();
  }
}
