import { rename } from "node:fs/promises";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import { errnoCode, SystemError } from "../../base/system-error.ts";
import { removeTree } from "../../linux/file/index.ts";
import { asideOf, GONE_PREFIX } from "./state-layout.ts";

/** Parallel deletions: they compete with containers for the disk. */
const AT_ONCE = 1;

/**
 * Deletes trees in the background. A tree loses its name immediately, by a rename in its own directory;
 * what the daemon does not get to is found by that new name at the next start.
 */
export class Trash {
  readonly #tasks: TaskGroup;
  readonly #log: Logger;
  #deleting = 0;
  readonly #turns = new Semaphore(AT_ONCE);

  constructor(tasks: TaskGroup, log: Logger) {
    this.#tasks = tasks;
    this.#log = log;
  }

  /** True while trees are being deleted. */
  get isDeleting(): boolean {
    return this.#deleting > 0;
  }

  /** Moves `name` in `directory` to the trash. No error when it does not exist. */
  async take(directory: string, name: string): Promise<void> {
    const path = `${directory}/${name}`;
    const aside = asideOf(directory, GONE_PREFIX);
    try {
      await rename(path, aside);
    } catch (cause) {
      const code = errnoCode(cause);
      if (code === "ENOENT") return;
      if (code === undefined) throw cause;
      throw new SystemError(`rename "${path}" to delete it: ${messageOf(cause)}`, code, { cause });
    }
    this.delete(aside);
  }

  /**
   * Like take(), for a name that is never used again: on a disk that cannot be written the tree stays until
   * the sweep of the next start.
   */
  async takeOrLeave(directory: string, name: string): Promise<void> {
    try {
      await this.take(directory, name);
    } catch (cause) {
      const code = errnoCode(cause);
      if (code !== "EROFS" && code !== "ENOSPC" && code !== "EDQUOT") throw cause;
      this.#log.warn(`"${directory}/${name}" stays until the next start: ${messageOf(cause)}`);
    }
  }

  /** Deletes an unused tree in the background. */
  delete(path: string): void {
    this.#tasks.spawn(`delete "${path}"`, async (signal) => {
      this.#deleting++;
      try {
        using _turn = await this.#turns.acquire(signal);
        await removeTree(path, signal);
      } finally {
        this.#deleting--;
      }
    });
  }
}
