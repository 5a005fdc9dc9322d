import type { Subject } from "./subject.ts";

/** Something that went wrong with a plugin. */
export interface PluginFailure {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** Index and name; the file's name, or "unknown" for one that did not register. */
  readonly plugin: string;
  /** What the plugin was asked, for example "CreateContainer"; undefined where it was asked nothing. */
  readonly event?: string | undefined;
  readonly sandbox?: string | undefined;
  readonly container?: string | undefined;
  readonly reason: string;
  /** The plugin was disconnected. */
  readonly dropped: boolean;
  /** False: davit starts it, and only at its own start, so it is not there again before that. */
  readonly external: boolean;
}

const maxFailures = 32;

/** The latest failures of plugins, for `davit doctor` and the verbose Status. */
export class RecentFailures {
  readonly #list: PluginFailure[] = [];

  add(failure: Omit<PluginFailure, "atMs" | keyof Subject>, subject?: Subject): void {
    if (this.#list.length === maxFailures) this.#list.shift();
    this.#list.push({ atMs: Date.now(), ...failure, ...subject });
  }

  /** The oldest first. */
  get list(): readonly PluginFailure[] {
    return [...this.#list];
  }
}
