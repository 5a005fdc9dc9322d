import { syncFileSystem } from "../../linux/file/index.ts";

/**
 * Makes a file system durable for any number of concurrent callers. Each waits for a sync that began
 * after it asked; requests during a sync share the next one.
 */
export class GroupSync {
  readonly #sync: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(directory: string, sync = () => syncFileSystem(directory)) {
    this.#sync = sync;
  }

  /** Resolves when everything written before the call is on the disk. */
  async sync(): Promise<void> {
    if (this.#running === undefined) {
      await this.#start();
      return;
    }
    this.#next ??= this.#running.then(
      () => this.#start(),
      () => this.#start(),
    );
    await this.#next;
  }

  async #start(): Promise<void> {
    this.#next = undefined;
    const running = this.#sync();
    this.#running = running;
    try {
      await running;
    } finally {
      if (this.#running === running) this.#running = undefined;
    }
  }
}
