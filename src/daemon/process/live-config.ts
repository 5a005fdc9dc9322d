import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { changedKeys } from "../../config/changed-keys.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError } from "../../config/load.ts";

/** The settings that can change while the daemon runs. The others take effect at its next start. */
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
   * Reads the configuration again (SIGHUP) and uses the settings that can change in a running daemon. The
   * log names them and those that wait for a restart. An invalid file is logged and changes nothing.
   */
  reload(read: () => Config, log: Logger): void {
    let next: Config;
    try {
      next = read();
    } catch (error) {
      for (const problem of error instanceof ConfigError ? error.lines : [messageOf(error)]) {
        log.error(`invalid configuration, keeping the previous one: ${problem}`);
      }
      return;
    }
    const keys = changedKeys(this.#config, next);
    const used = keys.filter((key) => liveKeys.has(key));
    const waiting = keys.filter((key) => !liveKeys.has(key));
    this.#config = { ...this.#config, log: next.log };
    log.info("reloaded the configuration", { cause: "SIGHUP", changed: used });
    if (waiting.length > 0) {
      log.warn("these settings take effect when davit restarts; pods keep running", {
        keys: waiting,
      });
    }
  }
}
