import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Container } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { Attachment } from "../../core/network/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { RecordTable, SetAsideRecord } from "../../core/store/index.ts";

const firstPauseMs = 500;
const maxPauseMs = 5_000;

/** The tables of a daemon, and the records that could not be read. */
export interface Tables {
  readonly sandboxes: RecordTable<Sandbox>;
  readonly attachments: RecordTable<Attachment>;
  readonly containers: RecordTable<Container>;
  readonly images: RecordTable<Image>;
  /** The records that were set aside and not cleaned up yet. */
  setAside(): readonly SetAsideRecord[];
  /** Resolves when all records that were written before are on the disk. Rejects if a sync fails. */
  synced(): Promise<void>;
}

/**
 * The records of a daemon, where an end is never refused.
 *
 * A disk that is full or read-only refuses new objects: the client gets the error, and nothing is
 * created. But that an object has ended, was stopped or is being removed is true whether or not it can be
 * written, and stopping and removing objects is how a disk gets space again. Such a write that fails is
 * retried until it succeeds or a newer one replaces it. If the daemon ends before, the next one finds the
 * same state by asking the kernel.
 */
export class WriteBehindRecords implements Tables, Disposable {
  readonly sandboxes: RecordTable<Sandbox>;
  readonly attachments: RecordTable<Attachment>;
  readonly containers: RecordTable<Container>;
  readonly images: RecordTable<Image>;
  readonly #tables: Tables;
  readonly #queue: RetryQueue;

  constructor(tables: Tables, log: Logger) {
    this.#tables = tables;
    this.#queue = new RetryQueue(log);
    this.sandboxes = writeBehind(this.#queue, tables.sandboxes, {
      noun: "sandbox",
      keyOf: ({ id }) => id,
      isEnd: ({ state }) => state.name === "dead" || state.name === "stopped",
    });
    this.attachments = writeBehind(this.#queue, tables.attachments, {
      noun: "network of sandbox",
      keyOf: ({ sandboxId }) => sandboxId,
      isEnd: ({ removal }) => removal !== undefined,
    });
    this.containers = writeBehind(this.#queue, tables.containers, {
      noun: "container",
      keyOf: ({ id }) => id,
      isEnd: ({ state }) => state.name === "exited",
    });
    this.images = writeBehind(this.#queue, tables.images, {
      noun: "image",
      keyOf: ({ id }) => id,
      isEnd: () => false,
    });
  }

  setAside(): readonly SetAsideRecord[] {
    return this.#tables.setAside();
  }

  async synced(): Promise<void> {
    await this.#tables.synced();
  }

  /** The records whose newest state is not written yet. */
  pendingWrites(): readonly string[] {
    return this.#queue.keys();
  }

  /** Retries a last time, as at the daemon's end. */
  [Symbol.dispose](): void {
    this.#queue[Symbol.dispose]();
  }
}

/** How the records of a table are written behind. */
interface WriteBehindRules<T> {
  /** For logs and {@link WriteBehindRecords.pendingWrites}, before the record's key. */
  readonly noun: string;
  readonly keyOf: (record: T) => string;
  /** Whether the write may fail for now. A deletion always may. */
  readonly isEnd: (record: T) => boolean;
}

/** The table, with failed writes of ends left to the queue. */
function writeBehind<T>(
  queue: RetryQueue,
  table: RecordTable<T>,
  { noun, keyOf, isEnd }: WriteBehindRules<T>,
): RecordTable<T> {
  return {
    load: () => table.load(),
    put: (record) => {
      queue.write(`${noun} "${keyOf(record)}"`, isEnd(record), () => table.put(record));
    },
    delete: (key) => {
      queue.write(`${noun} "${key}"`, true, () => table.delete(key));
    },
  };
}

/** Writes that failed, the newest for each key, retried until they succeed. */
class RetryQueue implements Disposable {
  readonly #log: Logger;
  readonly #pending = new Map<string, () => void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  keys(): readonly string[] {
    return [...this.#pending.keys()];
  }

  /** Writes now; a failure is thrown, or retried later where `mayBeLate`. */
  write(key: string, mayBeLate: boolean, write: () => void): void {
    try {
      write();
      this.#pending.delete(key);
    } catch (error) {
      if (!mayBeLate) throw error;
      this.#log.error("cannot persist terminal state (disk full?); will retry", {
        record: key,
        error: messageOf(error),
      });
      this.#pending.set(key, write);
      this.#schedule(firstPauseMs);
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#retry();
    clearTimeout(this.#timer);
  }

  #schedule(pauseMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#retry(pauseMs * 2);
    }, pauseMs).unref();
  }

  #retry(nextPauseMs = firstPauseMs): void {
    for (const [key, write] of this.#pending) {
      try {
        write();
        this.#pending.delete(key);
        this.#log.info("persisted terminal state after a retry", { record: key });
      } catch {
        // Logged at its first failure. The cause holds for the other records, too.
        this.#schedule(Math.min(nextPauseMs, maxPauseMs));
        return;
      }
    }
  }
}
