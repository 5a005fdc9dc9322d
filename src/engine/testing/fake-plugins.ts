import type {
  ChangesOfOthers,
  ContainerOfPlugins,
  CreatedWithPlugins,
  PluginMessages,
  Plugins,
  UpdatedWithPlugins,
} from "../../core/plugin/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { messages } from "../../drivers/nri/index.ts";
import { EnginePlugins } from "../plugins/index.ts";
import { Trouble } from "./trouble.ts";

type Call = Exclude<keyof Plugins, "active" | "hold">;

const none: ChangesOfOthers = { updates: [], evictions: [] };

/**
 * Plugins that note what they are told, and answer what a test sets. One may be connected or not. hold() works
 * as that of the driver: a synchronization waits for all holds, and new ones wait for it.
 */
export class FakePlugins implements Plugins {
  readonly trouble = new Trouble<Call>();
  /** What they were told: `event NAME`, with the name of the pod or container, and the container's state. */
  readonly told: string[] = [];
  readonly messages: PluginMessages = messages;
  /** What createContainer() and updateContainer() answer. */
  created: CreatedWithPlugins = { ...none, adjustment: undefined };
  updated: Partial<UpdatedWithPlugins> = {};
  stopped: ChangesOfOthers = none;
  active = true;
  /** The number of verbs that keep plugins from being synchronized, now and at most. */
  holds = 0;
  mostHolds = 0;
  #isSyncing: PromiseWithResolvers<undefined> | undefined;
  #onIdle: (() => void) | undefined;

  /** These plugins as an engine uses them. */
  ofEngine(): EnginePlugins {
    const plugins = new EnginePlugins();
    plugins.open(this, this.messages);
    return plugins;
  }

  async hold(signal: AbortSignal): Promise<Disposable> {
    while (this.#isSyncing !== undefined) await this.#isSyncing.promise;
    signal.throwIfAborted();
    this.holds++;
    this.mostHolds = Math.max(this.mostHolds, this.holds);
    return {
      [Symbol.dispose]: () => {
        this.holds--;
        if (this.holds === 0) this.#onIdle?.();
      },
    };
  }

  /** Does `work` as the synchronization of a plugin: alone. */
  async synchronize(work: () => Promise<void>): Promise<void> {
    this.#isSyncing = Promise.withResolvers<undefined>();
    if (this.holds > 0) {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#onIdle = () => {
        resolve(undefined);
      };
      await promise;
    }
    await work();
    const syncing = this.#isSyncing;
    this.#isSyncing = undefined;
    syncing.resolve(undefined);
  }

  async runPodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tell("runPodSandbox", podOf(pod), signal);
  }

  async updatePodSandbox(
    pod: Sandbox,
    _wanted: Parameters<Plugins["updatePodSandbox"]>[1],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#tell("updatePodSandbox", podOf(pod), signal);
  }

  async postUpdatePodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tell("postUpdatePodSandbox", podOf(pod), signal);
  }

  async stopPodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tell("stopPodSandbox", podOf(pod), signal);
  }

  async removePodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#tell("removePodSandbox", podOf(pod), signal);
  }

  async createContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<CreatedWithPlugins> {
    await this.#tell("createContainer", containerOf(of), signal);
    return this.created;
  }

  async postCreateContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tell("postCreateContainer", containerOf(of), signal);
  }

  async startContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tell("startContainer", containerOf(of), signal);
  }

  async postStartContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tell("postStartContainer", containerOf(of), signal);
  }

  async updateContainer(
    of: ContainerOfPlugins,
    wanted: Parameters<Plugins["updateContainer"]>[1],
    signal: AbortSignal,
  ): Promise<UpdatedWithPlugins> {
    await this.#tell("updateContainer", containerOf(of), signal);
    return { ...none, resources: wanted, ...this.updated };
  }

  async postUpdateContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tell("postUpdateContainer", containerOf(of), signal);
  }

  async stopContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<ChangesOfOthers> {
    await this.#tell("stopContainer", containerOf(of), signal);
    return this.stopped;
  }

  async removeContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void> {
    await this.#tell("removeContainer", containerOf(of), signal);
  }

  async #tell(call: Call, subject: string, signal: AbortSignal): Promise<void> {
    this.told.push(`${call} ${subject}`);
    await this.trouble.at(call, signal);
  }
}

function podOf({ config, state }: Sandbox): string {
  return `${config.metadata?.name ?? ""} ${state.name}`;
}

function containerOf({ container, pid }: ContainerOfPlugins): string {
  const { config, state } = container;
  const process = pid === undefined ? "" : " with a process";
  return `${config.metadata?.name ?? ""} ${state.name}${process}`;
}
