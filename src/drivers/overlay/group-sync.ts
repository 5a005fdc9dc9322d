import { closeSync, openSync } from "node:fs";
import { syncFileSystem } from "../../linux/file/index.ts";

/**
 * How many syncs run at once. Most of the time of one is that of the disk: a caller that asks while it runs does not have to
 * wait for its end.
 */
const AT_ONCE = 2;

/** A descriptor of the file system. Its sync reports the errors of all writes since it was opened, each once. */
interface SyncHandle extends Disposable {
  sync(): Promise<void>;
}

/** One who writes files that must be durable. */
interface Writer extends Disposable {
  /**
   * Resolves when everything written before the call is on the disk. Rejects if a write since {@link GroupSync.begin}
   * has failed, also if the sync of another writer was told so: the kernel does not say whose write it was.
   */
  sync(): Promise<void>;
}

/**
 * Makes a file system durable for any number of concurrent writers. Each waits for a sync that began
 * after it asked; requests while as many run as may share the next one.
 */
export class GroupSync {
  readonly #open: () => SyncHandle;
  /** Open while there are writers. */
  readonly #free: SyncHandle[] = [];
  readonly #running = new Set<Promise<void>>();
  #next: Promise<void> | undefined;
  #writers = 0;
  #failures = 0;
  #lastFailure: unknown;

  constructor(directory: string, open = () => openHandle(directory)) {
    this.#open = open;
  }

  /** Before the first write of a writer, which is disposed of after its last sync. Throws as open(2) fails. */
  begin(): Writer {
    if (this.#writers === 0) this.#openAll();
    this.#writers++;
    const before = this.#failures;
    return {
      sync: async () => {
        await this.#sync();
        if (this.#failures !== before) throw this.#lastFailure;
      },
      [Symbol.dispose]: () => {
        this.#writers--;
        // No sync runs: somebody would wait for it.
        if (this.#writers === 0) this.#closeAll();
      },
    };
  }

  #openAll(): void {
    try {
      for (let count = 0; count < AT_ONCE; count++) this.#free.push(this.#open());
    } catch (error) {
      this.#closeAll();
      throw error;
    }
  }

  #closeAll(): void {
    for (const handle of this.#free.splice(0)) handle[Symbol.dispose]();
  }

  async #sync(): Promise<void> {
    const handle = this.#free.pop();
    if (handle !== undefined) {
      await this.#run(handle);
      return;
    }
    const start = async (): Promise<void> => {
      this.#next = undefined;
      await this.#sync();
    };
    this.#next ??= Promise.race(this.#running).then(start, start);
    await this.#next;
  }

  async #run(handle: SyncHandle): Promise<void> {
    const running = handle.sync();
    this.#running.add(running);
    try {
      await running;
    } catch (error) {
      this.#failures++;
      this.#lastFailure = error;
      throw error;
    } finally {
      this.#running.delete(running);
      this.#free.push(handle);
    }
  }
}

function openHandle(directory: string): SyncHandle {
  const fd = openSync(directory, "r");
  return {
    sync: () => syncFileSystem(fd, directory),
    [Symbol.dispose]: () => {
      closeSync(fd);
    },
  };
}
