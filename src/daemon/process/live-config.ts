import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { changedKeys } from "../../config/changed-keys.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/load.ts";

/** What can change while the daemon runs. Everything else was built into its parts when it started. */
const liveKeys: ReadonlySet<string> = new Set(["log.level"]);

/** The configuration in use. */
export class LiveConfig {
  #config: Config;

  constructor(config: Config) {
    this.#config = config;
  }

  get value(): Config {
    return this.#config;
  }

  /**
   * Reads the configuration again, as SIGHUP asks for, and uses what can change in a daemon that runs. The
   * log says what that was, what waits for a restart, and what is wrong with the file; then nothing changes.
   */
  reload(read: () => Config, log: Logger): void {
    let next: Config;
    try {
      next = read();
    } catch (error) {
      for (const problem of error instanceof ConfigError ? error.lines : [messageOf(error)]) {
        log.error(`the configuration is not used, the one before stays: ${problem}`);
      }
      return;
    }
    const keys = changedKeys(this.#config, next);
    const used = keys.filter((key) => liveKeys.has(key));
    const waiting = keys.filter((key) => !liveKeys.has(key));
    this.#config = { ...this.#config, log: next.log };
    log.info("read the configuration again", { changed: used });
    if (waiting.length > 0) {
      log.warn("these settings are used after a restart of davit; pods go on", { keys: waiting });
    }
  }
}
