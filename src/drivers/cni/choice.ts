import type { PluginObserver } from "../../core/network/index.ts";
import type { NetworkList } from "./conflist.ts";
import type { ListRunner } from "./plugin-runner.ts";

/** Who carries out a network. */
export interface Choice {
  readonly runner: ListRunner;
  /** Why it is the plugins; undefined when it is davit itself. */
  readonly reason: string | undefined;
}

/** Chooses for each network whether its plugins run, or davit does itself what they would do. */
export class RunnerChoice {
  readonly #options: ConstructorParameters<typeof RunnerChoice>[0];
  #last: { readonly text: string; readonly choice: Promise<Choice> } | undefined;

  constructor(options: {
    /** The setting `cni.builtin`. */
    readonly builtin: boolean;
    readonly plugins: ListRunner;
    readonly timeoutMs: number;
    readonly onRun?: PluginObserver | undefined;
  }) {
    this.#options = options;
  }

  /** The choice for a network. It is remembered for the next call with the same one. */
  async of(list: NetworkList): Promise<Choice> {
    if (this.#last?.text !== list.text)
      this.#last = { text: list.text, choice: this.#choose(list) };
    return await this.#last.choice;
  }

  /** Chooses again at the next call: an obstacle can be outside of the configuration. */
  forget(): void {
    this.#last = undefined;
  }

  async #choose(list: NetworkList): Promise<Choice> {
    const { builtin, plugins, ...options } = this.#options;
    if (!builtin) return { runner: plugins, reason: "cni.builtin is false" };
    const { BuiltinRunner, networkObstacle } = await import("./builtin/index.ts");
    const reason = networkObstacle(list);
    return { runner: reason === undefined ? new BuiltinRunner(options) : plugins, reason };
  }
}
