import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { NetworkList } from "./conflist.ts";
import type { PluginRunner } from "./plugin-runner.ts";
import { isAtLeast } from "./version.ts";

/**
 * Asks the plugins of the network for their STATUS, in the background: immediately for a new
 * configuration, then at an interval. Only configurations of 1.1.0 or newer have it.
 */
export class StatusProbe implements AsyncDisposable {
  readonly #runner: PluginRunner;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #closing = new AbortController();
  #list: NetworkList | undefined;
  #failure: string | undefined;
  #asking: Promise<void> | undefined;

  constructor(options: {
    readonly runner: PluginRunner;
    readonly log: Logger;
    readonly intervalMs: number;
  }) {
    this.#runner = options.runner;
    this.#log = options.log;
    this.#timer = setInterval(() => void this.ask(), options.intervalMs);
    this.#timer.unref();
  }

  /** Why the plugins cannot serve ADD; undefined when they can, or were never to be asked. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Asks about `list` from now on. Nothing happens when it is the one asked about already. */
  watch(list: NetworkList | undefined): void {
    if (list?.text === this.#list?.text) return;
    const first = this.#list === undefined;
    this.#list = list;
    if (list === undefined || !isAtLeast(list.cniVersion, "1.1.0")) {
      this.#failure = undefined;
      return;
    }
    // An edit of a working network keeps the last answer until the next one.
    if (first) this.#failure = `waiting for the plugins of network "${list.name}" to answer STATUS`;
    void this.ask();
  }

  /** Asks now. Never rejects; what was answered is in {@link failure}. */
  async ask(): Promise<void> {
    this.#asking ??= this.#askAll().finally(() => {
      this.#asking = undefined;
    });
    await this.#asking;
  }

  async #askAll(): Promise<void> {
    for (;;) {
      const list = this.#list;
      if (list === undefined || !isAtLeast(list.cniVersion, "1.1.0")) return;
      const failure = await this.#askList(list);
      if (this.#closing.signal.aborted) return;
      // The configuration has changed: the answer is about an old one.
      if (list !== this.#list) continue;
      if (failure !== undefined && failure !== this.#failure) {
        this.#log.warn("network plugin is not ready", { reason: failure });
      } else if (failure === undefined && this.#failure !== undefined) {
        this.#log.info("network plugins are ready", { name: list.name });
      }
      this.#failure = failure;
      return;
    }
  }

  async #askList(list: NetworkList): Promise<string | undefined> {
    try {
      for (const plugin of list.plugins) {
        const signal = this.#closing.signal;
        await this.#runner.run({ command: "STATUS", list, plugin, signal });
      }
      return undefined;
    } catch (error) {
      return `STATUS of network "${list.name}": ${messageOf(error)}`;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#list = undefined;
    this.#closing.abort();
    await this.#asking;
  }
}
