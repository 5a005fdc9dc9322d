import { statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";

/** When the write-ahead log is carried over into the database. */
export interface CheckpointLimits {
  /** Size of the log that starts a checkpoint immediately. Bytes. */
  readonly walBytes: number;
  /** Time without a write after which one starts. Milliseconds. */
  readonly quietMs: number;
  /** Time after the first write into a log after which the log is synced. Milliseconds. */
  readonly beginMs: number;
}

/** A log of 500 pages is copied in some 2 ms; the rest of a checkpoint costs this thread nothing. */
export const defaultLimits: CheckpointLimits = {
  walBytes: 2 << 20,
  quietMs: 5_000,
  // A pod has started by then: a write can wait for a sync of its file.
  beginMs: 1_000,
};

const roundPauseMs = 100;
const maxRounds = 20;
const maxRetryMs = 300_000;

/**
 * Carries the write-ahead log over into the database, so that this thread never waits for a disk.
 *
 * SQLite's own checkpoint syncs the log, copies its pages, and syncs the database; and the first
 * write into a log that starts over syncs its header, also with synchronous=NORMAL (wal.c,
 * sqlite3WalFrames). Here the writer runs with synchronous=OFF and libuv's thread pool does
 * the two syncs between the same steps, in the same order:
 *
 * 1. A second connection begins to read: a fence. No checkpoint passes what it sees, and the
 *    log is not started over while it reads (wal.c, walCheckpoint and walRestartLog).
 * 2. The log is synced on the pool.
 * 3. The pages before the fence are copied into the database, into the page cache: this thread.
 * 4. The database is synced on the pool.
 * 5. If nothing was written since, the log is truncated. Otherwise another round follows.
 *
 * So after a power cut a half-copied database has a synced log. The log is truncated, never
 * overwritten in place: a journaling file system writes no new byte to a file before the truncation, so
 * the unsynced header of the next log cannot be mixed up with old pages. It can where blocks get into a file
 * before their data (ext4 with data=writeback and nodelalloc): the next log has the blocks of the old one, with old
 * frames that are valid and are older than the database. So the pool also syncs a log soon after it begins: its header has
 * another salt, by which SQLite knows old frames.
 *
 * All this is done by the one process that has the database open; the daemon's lock sees to that.
 */
export class Checkpointer {
  readonly #writer: DatabaseSync;
  readonly #path: string;
  readonly #logger: Logger;
  readonly #limits: CheckpointLimits;
  readonly #syncLog: typeof syncFile;
  readonly #quiet: NodeJS.Timeout;
  readonly #finishing = new AbortController();
  /** Held until release(): closing it drops SQLite's locks on the same file (fcntl(2)). */
  #databaseFile: FileHandle | undefined;
  #running: Promise<void> | undefined;
  /** Whether the next write begins a log. */
  #isLogEmpty = true;
  #begun: NodeJS.Timeout | undefined;
  #beginning: Promise<void> | undefined;
  #writes = 0;
  #thresholdBytes: number;
  #failures = 0;
  /** By performance.now(), which is monotonic. */
  #notBeforeMs = 0;

  constructor(
    writer: DatabaseSync,
    deps: {
      readonly path: string;
      readonly logger: Logger;
      readonly limits: CheckpointLimits;
      /** Syncs the log that has begun; fdatasync(2) if not given. */
      readonly syncLog?: typeof syncFile;
    },
  ) {
    this.#writer = writer;
    this.#path = deps.path;
    this.#logger = deps.logger;
    this.#limits = deps.limits;
    this.#syncLog = deps.syncLog ?? syncFile;
    this.#thresholdBytes = deps.limits.walBytes;
    // An earlier daemon, or the opening of the database, may have begun the log.
    this.#noticeBegin();
    // Armed from the beginning: an earlier daemon that was killed has left its log.
    this.#quiet = setTimeout(() => {
      if (performance.now() < this.#notBeforeMs) this.#quiet.refresh();
      else this.#startAbove(1);
    }, deps.limits.quietMs);
    this.#quiet.unref();
  }

  /** To be called after every write. Costs one stat(2). */
  written(): void {
    this.#writes++;
    this.#quiet.refresh();
    if (this.#isLogEmpty) this.#noticeBegin();
    this.#startAbove(this.#thresholdBytes);
  }

  /** Size of the write-ahead log. Bytes. */
  walBytes(): number {
    return statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Resolves when all that was written before is on the disk. Rejects if a sync fails. */
  async sync(): Promise<void> {
    // One that runs already may have passed the last write.
    while (this.#running !== undefined) await this.#running;
    const round = this.#round();
    const settled = round.then(
      () => undefined,
      () => undefined,
    );
    this.#running = settled.finally(() => {
      this.#running = undefined;
    });
    await round;
  }

  /**
   * Empties the log for the last time; no write may follow. When that fails, the writer is left so
   * that closing it makes the checkpoint, with its syncs, on this thread: late is better than torn.
   */
  async finish(): Promise<void> {
    clearTimeout(this.#quiet);
    clearTimeout(this.#begun);
    this.#finishing.abort();
    await Promise.all([this.#running, this.#beginning]);
    try {
      if (this.walBytes() > 0) await this.#round();
    } catch (error) {
      this.#logger.warn("the last checkpoint of the records failed", { error });
    }
    if (this.walBytes() > 0) this.#writer.exec("PRAGMA synchronous = NORMAL");
  }

  /** Closes the file; only after the writer is closed. */
  async release(): Promise<void> {
    await this.#databaseFile?.close();
    this.#databaseFile = undefined;
  }

  /** Has a log synced that was empty before. If that fails, so does the next checkpoint, which is logged. */
  #noticeBegin(): void {
    this.#isLogEmpty = this.walBytes() === 0;
    if (this.#isLogEmpty) return;
    clearTimeout(this.#begun);
    this.#begun = setTimeout(() => {
      this.#beginning = this.#syncLog(`${this.#path}-wal`).catch(() => undefined);
    }, this.#limits.beginMs).unref();
  }

  #startAbove(bytes: number): void {
    if (this.#running !== undefined || performance.now() < this.#notBeforeMs) return;
    if (this.walBytes() < bytes) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Never rejects: a failed checkpoint is logged, and the daemon continues. */
  async #run(): Promise<void> {
    try {
      let done = await this.#round();
      for (let round = 2; !done && round <= maxRounds; round++) {
        if (!(await this.#pause())) return;
        done = await this.#round();
      }
      // Writes never pause: keep what is copied, and checkpoint again when the log has grown.
      this.#thresholdBytes = this.#limits.walBytes + (done ? 0 : this.walBytes());
      this.#failures = 0;
    } catch (error) {
      const retryMs = Math.min(this.#limits.quietMs * 2 ** this.#failures++, maxRetryMs);
      this.#notBeforeMs = performance.now() + retryMs;
      this.#quiet.refresh();
      this.#logger.warn("a checkpoint of the records failed; the log grows until one works", {
        path: this.#path,
        walBytes: this.walBytes(),
        retryMs,
        error: messageOf(error),
      });
    }
  }

  /** False when the final checkpoint is due: this one is not waited for. */
  async #pause(): Promise<boolean> {
    const { signal } = this.#finishing;
    await sleep(roundPauseMs, undefined, { ref: false, signal }).catch(() => undefined);
    return !signal.aborted;
  }

  /** True when the log is empty now. */
  async #round(): Promise<boolean> {
    const fence = new DatabaseSync(this.#path, { timeout: 0 });
    try {
      const writes = this.#writes;
      // BEGIN alone takes no snapshot; the first read does.
      fence.exec("BEGIN");
      fence.prepare("SELECT schema FROM meta").get();
      await syncFile(`${this.#path}-wal`);
      this.#writer.exec("PRAGMA wal_checkpoint(PASSIVE)");
      this.#databaseFile ??= await open(this.#path, "r");
      await this.#databaseFile.datasync();
      if (this.#writes !== writes) return false;
      fence.exec("COMMIT");
      const isTruncated = fence.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get()?.["busy"] === 0;
      this.#isLogEmpty ||= isTruncated;
      return isTruncated;
    } finally {
      fence.close();
    }
  }
}

/** fdatasync(2) on the pool. Any descriptor of a file syncs all of it, so a reading one will do. */
async function syncFile(path: string): Promise<void> {
  await using file = await open(path, "r");
  await file.datasync();
}
