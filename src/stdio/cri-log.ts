import type { FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";

import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { Semaphore } from "../base/semaphore.ts";
import { LogDirectory } from "../linux/file/index.ts";

/**
 * How many writes to one disk may wait for it. The threads that they wait on are everybody's: a disk
 * that hangs must not have them all.
 */
const writesPerDisk = 3;
const turnsOfDisk = new Map<bigint, Semaphore>();

/** What a log is opened with. */
export interface CriLogDeps {
  readonly log: Logger;
  /** See LogDirectoryOptions. */
  readonly logRoots?: readonly string[];
}

/**
 * The log of a container, open for appending. Writes are done one after the other. Whatever else containers
 * put in its place is neither followed nor opened; see LogDirectory.
 */
export class CriLog {
  readonly #deps: CriLogDeps;
  #path: string;
  #file: FileHandle;
  #turns: Semaphore;
  #last: Promise<void> = Promise.resolve();
  #failing = false;

  private constructor(path: string, file: FileHandle, turns: Semaphore, deps: CriLogDeps) {
    this.#path = path;
    this.#file = file;
    this.#turns = turns;
    this.#deps = deps;
  }

  /** Opens the log; it and its directory are made where they are missing. */
  static async open(path: string, deps: CriLogDeps): Promise<CriLog> {
    const { logRoots: linkedRoots = [] } = deps;
    using directory = await LogDirectory.open(dirname(path), { linkedRoots, make: true });
    return await CriLog.of(path, await directory.append(basename(path)), deps);
  }

  /** A log that is open already; it belongs to the CriLog from now on. */
  static async of(path: string, file: FileHandle, deps: CriLogDeps): Promise<CriLog> {
    return new CriLog(path, file, await turnsOf(file), deps);
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
          this.#deps.log.warn(`write log "${this.#path}": ${messageOf(error)}; lines are lost`);
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
        const file = await this.#newFile(path);
        if (file === undefined) return;
        await this.#file.close().catch(() => undefined);
        this.#file = file;
        this.#turns = await turnsOf(file);
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

  /** A new file at the path, whatever else was there; undefined when that is the open one. */
  async #newFile(path: string): Promise<FileHandle | undefined> {
    const { logRoots: linkedRoots = [] } = this.#deps;
    using directory = await LogDirectory.open(dirname(path), { linkedRoots });
    const name = basename(path);
    const own = await this.#file.stat({ bigint: true });
    const there = await directory.identity(name);
    if (there?.dev === own.dev && there.ino === own.ino) return undefined;
    const hidden = `.${name}.new`;
    const file = await directory.create(hidden);
    try {
      await directory.rename(hidden, name);
      return file;
    } catch (error) {
      await file.close();
      await directory.remove(hidden);
      throw error;
    }
  }
}

async function turnsOf(file: FileHandle): Promise<Semaphore> {
  const { dev } = await file.stat({ bigint: true });
  let turns = turnsOfDisk.get(dev);
  if (turns === undefined) turnsOfDisk.set(dev, (turns = new Semaphore(writesPerDisk)));
  return turns;
}
