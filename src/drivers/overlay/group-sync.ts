import { syncFileSystem } from "../../linux/file/index.ts";

/**
 * How many syncs run at once. Most of the time of one is that of the disk: a caller that asks while it runs does not have to
 * wait for its end.
 */
const AT_ONCE = 2;

/**
 * Makes a file system durable for any number of concurrent callers. Each waits for a sync that began
 * after it asked; requests while as many run as may share the next one.
 */
export class GroupSync {
  readonly #sync: () => Promise<void>;
  /** Those that run, the oldest one first. */
  readonly #running: Promise<void>[] = [];
  #next: Promise<void> | undefined;

  constructor(directory: string, sync = () => syncFileSystem(directory)) {
    this.#sync = sync;
  }

  /** Resolves when everything written before the call is on the disk. */
  async sync(): Promise<void> {
    if (this.#running.length < AT_ONCE) {
      await this.#start();
      return;
    }
    const start = (): Promise<void> => this.#start();
    this.#next ??= Promise.race(this.#running).then(start, start);
    await this.#next;
  }

  async #start(): Promise<void> {
    this.#next = undefined;
    const running = this.#sync();
    this.#running.push(running);
    try {
      await running;
    } finally {
      void this.#running.splice(this.#running.indexOf(running), 1);
    }
  }
}
