import { closeSync, constants, openSync } from "node:fs";
import { open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import { valueWithin } from "../../base/wait.ts";
import { syncFileSystem } from "../../linux/file/index.ts";
import { UNSYNCED } from "./state-layout.ts";

/** So long after a directory was published, a sync begins. The pod that waits for the image starts in this time. */
const defaultDelayMs = 1_000;

/** A descriptor of the file system. Its sync reports the errors of all writes since it was opened, each once. */
interface SyncHandle extends Disposable {
  sync(): Promise<void>;
}

/** What late syncs need. */
interface LateSyncDeps {
  /** A directory of the file system. */
  readonly directory: string;
  readonly bootId: string;
  readonly tasks: TaskGroup;
  readonly log: Logger;
  readonly delayMs?: number | undefined;
  /** Opens the file system, if not the directory's. */
  readonly open?: () => SyncHandle;
}

/** One who writes files into a new directory. */
export interface LateWriter extends Disposable {
  /** Marks the directory, which is complete, before it is published. Rejects as a write does. */
  mark(directory: string): Promise<void>;
  /** After the directory got its name. The mark is removed later; disposing has no effect any more. */
  publish(directory: string): void;
}

/** The mark of a directory that may not be on the disk. */
export interface Mark {
  /** The boot that wrote the directory. Of a mark that a power cut has shortened it is that of no boot. */
  readonly bootId: string;
  /** Why a sync has failed since then; `undefined` if none has. */
  readonly failure?: string | undefined;
}

/** A directory that was published, and may not be on the disk yet. */
interface Published extends Disposable {
  readonly directory: string;
  /** Of the file system, before its files were written. */
  readonly failures: number;
  readonly end: PromiseWithResolvers<undefined>;
  isForgotten: boolean;
  /** While the mark is removed or changed. */
  marking?: Promise<void>;
}

/**
 * Makes directories durable a moment after they were published, so that no pull waits for the disk: a sync writes what
 * any program has written. Until then a file in the directory, the mark, has the id of this boot. In another boot the
 * directory with a mark counts as missing, since a power cut may have taken a part of it. File systems keep the order
 * in which names are made, so that the directory never has its name without the mark.
 */
export class LateSync {
  readonly #deps: LateSyncDeps;
  /** Open while there are writers. */
  #handle: SyncHandle | undefined;
  #writers = 0;
  #failures = 0;
  #lastFailure: unknown;
  readonly #pending = new Set<Published>();
  /** Why a directory is not on the disk. */
  readonly #failed = new Map<string, string>();
  #isRunning = false;
  #isHurried = false;
  #wake: (() => void) | undefined;

  constructor(deps: LateSyncDeps) {
    this.#deps = deps;
  }

  /** Before the first write into a directory. Throws as open(2) fails. */
  begin(): LateWriter {
    const { directory: place, bootId, open = () => openHandle(place) } = this.#deps;
    if (this.#writers === 0) this.#handle = open();
    this.#writers++;
    const failures = this.#failures;
    let isOpen = true;
    const close = (): void => {
      if (!isOpen) return;
      isOpen = false;
      this.#leave();
    };
    let isPublished = false;
    return {
      mark: (directory) => writeFile(join(directory, UNSYNCED), bootId),
      publish: (directory) => {
        isPublished = true;
        const end = Promise.withResolvers<undefined>();
        end.promise.catch(() => undefined);
        const published = { directory, failures, end, isForgotten: false };
        this.#pending.add({ ...published, [Symbol.dispose]: close });
        this.#start();
      },
      [Symbol.dispose]: () => {
        if (!isPublished) close();
      },
    };
  }

  /** Resolves when all that was published before is on the disk. Rejects if that failed. */
  async synced(): Promise<void> {
    const ends = Array.from(this.#pending, ({ end }) => end.promise);
    if (ends.length === 0) return;
    this.#isHurried = true;
    this.#wake?.();
    await Promise.all(ends);
  }

  /** Before a directory is removed: its name may be that of another one afterwards. */
  async forget(directory: string): Promise<void> {
    this.#failed.delete(directory);
    for (const each of this.#pending) {
      if (each.directory !== directory) continue;
      each.isForgotten = true;
      await each.marking?.catch(() => undefined);
    }
  }

  /**
   * For a directory with a mark of an earlier daemon of this boot. One that could not be synced keeps its mark: the
   * kernel reports an error once, and a further sync succeeds without the data.
   */
  resume(directory: string, { failure }: Mark): void {
    if (failure === undefined) this.begin().publish(directory);
    else this.#failed.set(directory, failure);
  }

  /** Whether a published directory still has its mark. */
  isMarked(directory: string): boolean {
    if (this.#failed.has(directory)) return true;
    return [...this.#pending].some((each) => each.directory === directory);
  }

  /** Why a directory could not be written to the disk; `undefined` for one that was, or will be. */
  failureOf(directory: string): string | undefined {
    return this.#failed.get(directory);
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#deps.tasks.spawn("sync layers", async (signal) => {
      try {
        while (this.#pending.size > 0) {
          await this.#delay(signal);
          await this.#sync([...this.#pending]);
        }
      } finally {
        this.#isRunning = false;
      }
    });
  }

  async #delay(signal: AbortSignal): Promise<void> {
    if (!this.#isHurried) {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wake = () => resolve(undefined);
      await valueWithin(promise, this.#deps.delayMs ?? defaultDelayMs, signal);
    }
    this.#isHurried = false;
  }

  async #sync(batch: readonly Published[]): Promise<void> {
    try {
      await this.#handle?.sync();
    } catch (error) {
      this.#failures++;
      this.#lastFailure = error;
    }
    for (const each of batch) await this.#settle(each);
  }

  async #settle(each: Published): Promise<void> {
    using _closed = each;
    // The kernel does not say whose write failed.
    if (each.failures === this.#failures) await this.#unmark(each);
    else await this.#fail(each, this.#lastFailure);
    this.#pending.delete(each);
  }

  async #unmark(each: Published): Promise<void> {
    const { directory, end } = each;
    try {
      if (!each.isForgotten) await (each.marking = unmark(directory));
      end.resolve(undefined);
    } catch (cause) {
      end.reject(cause);
      this.#deps.log.warn(
        `"${directory}" is on the disk, but its mark cannot be removed: ${messageOf(cause)}; it is pulled again after the next start of the machine`,
      );
    }
  }

  async #fail(each: Published, cause: unknown): Promise<void> {
    const { directory, end } = each;
    if (!each.isForgotten) {
      const why = messageOf(cause);
      this.#failed.set(directory, why);
      this.#deps.log.error(
        `"${directory}" could not be written to the disk, and its files may be damaged: ${why}; check the disk, then run davit images check`,
      );
      // A disk that cannot be written keeps the mark as it is.
      await (each.marking = markFailure(directory, why)).catch(() => undefined);
    }
    end.reject(cause);
  }

  #leave(): void {
    this.#writers--;
    if (this.#writers > 0) return;
    this.#handle?.[Symbol.dispose]();
    this.#handle = undefined;
  }
}

/** The mark of a directory; `undefined` for one that is on the disk. */
export async function readMark(directory: string): Promise<Mark | undefined> {
  try {
    const text = await readFile(join(directory, UNSYNCED), "utf8");
    const [bootId = "", failure] = text.split("\n", 2);
    return { bootId, failure };
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw cause;
  }
}

/** Adds the failure to the mark, for later daemons of this boot. */
async function markFailure(directory: string, why: string): Promise<void> {
  const flag = constants.O_WRONLY | constants.O_APPEND;
  await writeFile(join(directory, UNSYNCED), `\n${why}`, { flag });
}

async function unmark(directory: string): Promise<void> {
  await rm(join(directory, UNSYNCED), { force: true });
  await using names = await open(directory);
  await names.sync();
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
