import { messageOf } from "../../base/errors.ts";
import type { LogFields, Logger } from "../../base/logger.ts";
import { Semaphore } from "../../base/semaphore.ts";
import { type ChangedKey, changedKeys } from "../../config/changed-keys.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/load.ts";
import { reloadable } from "../../config/takes-effect.ts";
import type { ReloadReport } from "../../cri/index.ts";

/**
 * A part of the daemon that has to do something when the configuration changes. Parts that read the settings at each
 * use from {@link LiveConfig.value} need none of this.
 */
export interface ReloadPart {
  /**
   * Obtains what the next configuration needs, for example a listening socket. What it throws refuses the whole reload,
   * and `undo` then returns what was obtained. Returns what puts it into use, which must not fail.
   */
  prepare(change: {
    readonly current: Config;
    readonly next: Config;
    readonly undo: AsyncDisposableStack;
  }): Promise<() => void> | (() => void);
}

/** Keeps settings as they are that this daemon can change only when it starts; returns the reasons by key. */
export type Holdback = (
  current: Config,
  next: Config,
) => { readonly config: Config; readonly reasons: ReadonlyMap<string, string> };

interface LiveConfigDeps {
  readonly log: Logger;
  /** Reads the configuration as at the start. */
  readonly read: () => Config;
  /** Called when a reload begins. Called again with false when it has ended. */
  readonly reloading?: (isReloading: boolean) => void;
}

/** The configuration in use. */
export class LiveConfig {
  #config: Config;
  readonly #parts: ReloadPart[] = [];
  readonly #turns = new Semaphore(1);
  #holdback: Holdback = (_current, next) => ({ config: next, reasons: new Map() });

  constructor(config: Config) {
    this.#config = config;
  }

  get value(): Config {
    return this.#config;
  }

  /** Adds parts, which are prepared one after the other. */
  add(...parts: readonly ReloadPart[]): void {
    this.#parts.push(...parts);
  }

  /** What this daemon can change only at its start, beyond the keys that always need a restart. */
  holdBack(holdback: Holdback): void {
    this.#holdback = holdback;
  }

  /**
   * Reads the configuration again, and uses the settings that can change in a running daemon: all of them, or none if
   * one is invalid or a part cannot use its new ones. The log has the old and new values, `by` says who asked. One reload
   * at a time; others wait. Never rejects.
   */
  async reload(by: LogFields, deps: LiveConfigDeps): Promise<ReloadReport> {
    using _turn = await this.#turns.acquire();
    deps.reloading?.(true);
    try {
      return await this.#reload(by, deps);
    } finally {
      deps.reloading?.(false);
    }
  }

  async #reload(by: LogFields, { log, read }: LiveConfigDeps): Promise<ReloadReport> {
    const refused = (reasons: readonly string[]): ReloadReport => {
      for (const reason of reasons)
        log.error(`invalid configuration, keeping the previous one: ${reason}`, by);
      return { changed: [], waiting: [], refused: reasons };
    };
    let wanted: Config;
    try {
      wanted = read();
    } catch (error) {
      return refused(error instanceof ConfigError ? error.lines : [messageOf(error)]);
    }
    const current = this.#config;
    const { config: next, reasons } = this.#holdback(current, reloadable(current, wanted));
    await using undo = new AsyncDisposableStack();
    const commits: (() => void)[] = [];
    const failures: string[] = [];
    for (const part of this.#parts) {
      try {
        commits.push(await part.prepare({ current, next, undo }));
      } catch (error) {
        failures.push(messageOf(error));
      }
    }
    if (failures.length > 0) return refused(failures);
    // What was obtained is in use from here on.
    undo.move();
    this.#config = next;
    for (const commit of commits) commit();
    const changed = changedKeys(current, next);
    const waiting = changedKeys(next, wanted).map((each) => ({
      ...each,
      reason: reasons.get(each.key) ?? reasons.get(handlerOf(each.key)) ?? "",
    }));
    log.info("reloaded the configuration", { ...by, changed: changed.map(changeText) });
    if (waiting.length > 0) {
      log.warn("these settings take effect when davit restarts; pods keep running", {
        keys: waiting.map(changeText),
      });
    }
    return { changed, waiting, refused: [] };
  }
}

function handlerOf(key: string): string {
  return key.split(".").slice(0, 3).join(".");
}

function changeText({ key, before, after }: ChangedKey): string {
  return `${key}: ${before} -> ${after}`;
}
