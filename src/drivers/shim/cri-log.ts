import { type FileHandle, open, stat } from "node:fs/promises";
import { dirname } from "node:path";

import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { Semaphore } from "../../base/semaphore.ts";
import { errnoCode, systemError } from "../../linux/index.ts";

/**
 * How many writes to one disk may wait for it. The threads that they wait on are everybody's: a disk
 * that hangs must not have them all.
 */
const writesPerDisk = 3;
const turnsOfDisk = new Map<bigint, Semaphore>();

/** The log of a container, open for appending. Writes are done one after the other. */
export class CriLog {
  readonly #log: Logger;
  #path: string;
  #file: FileHandle;
  #turns: Semaphore;
  #last: Promise<void> = Promise.resolve();
  #failing = false;

  private constructor(path: string, file: FileHandle, turns: Semaphore, log: Logger) {
    this.#path = path;
    this.#file = file;
    this.#turns = turns;
    this.#log = log;
  }

  /** Opens the log, made where it is missing. */
  static async open(path: string, log: Logger): Promise<CriLog> {
    const { file, turns } = await openLog(path);
    return new CriLog(path, file, turns, log);
  }

  /** Where it is written to. */
  get path(): string {
    return this.#path;
  }

  /**
   * Appends to the log; resolves when that is done. Never rejects: what cannot be written, as on a
   * full disk, is lost, and the container goes on.
   */
  write(bytes: Buffer): Promise<void> {
    return this.#queue(async () => {
      if (bytes.length === 0) return;
      using _turn = await this.#turns.acquire();
      try {
        for (let done = 0; done < bytes.length; ) {
          done += (await this.#file.write(bytes, done)).bytesWritten;
        }
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) {
          this.#log.warn(`write log "${this.#path}": ${messageOf(error)}; lines are lost`);
        }
        this.#failing = true;
      }
    });
  }

  /** Goes on in a new file at `path`; nothing when that is the open one. On failure all stays as it was. */
  async reopen(path: string): Promise<void> {
    const failure: { error?: unknown } = {};
    await this.#queue(async () => {
      try {
        if (await this.#isOpen(path)) return;
        const { file, turns } = await openLog(path);
        await this.#file.close().catch(() => undefined);
        this.#file = file;
        this.#turns = turns;
        this.#path = path;
      } catch (error) {
        failure.error = error;
      }
    });
    if ("error" in failure) throw failure.error;
  }

  /** Closes the file when everything is written. Idempotent. */
  close(): Promise<void> {
    return this.#queue(() => this.#file.close().catch(() => undefined));
  }

  #queue(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(work);
    return this.#last;
  }

  async #isOpen(path: string): Promise<boolean> {
    const own = await this.#file.stat({ bigint: true });
    try {
      const there = await stat(path, { bigint: true });
      return there.dev === own.dev && there.ino === own.ino;
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return false;
      throw systemError(`look for log "${path}"`, cause);
    }
  }
}

async function openLog(path: string): Promise<{ file: FileHandle; turns: Semaphore }> {
  try {
    const file = await open(path, "a", 0o640);
    const { dev } = await stat(dirname(path), { bigint: true });
    let turns = turnsOfDisk.get(dev);
    if (turns === undefined) turnsOfDisk.set(dev, (turns = new Semaphore(writesPerDisk)));
    return { file, turns };
  } catch (cause) {
    throw systemError(`open log "${path}"`, cause);
  }
}
