import type { FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";

import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { Semaphore } from "../base/semaphore.ts";
import { LogDirectory } from "../linux/file/index.ts";

/**
 * How many writes to one disk run at once. They block threads of the shared pool: a disk that hangs must
 * not block all of them.
 */
const writesPerDisk = 3;
const writesByDisk = new Map<bigint, Semaphore>();

/** What a log is opened with. */
export interface CriLogDeps {
  readonly log: Logger;
  /** See LogDirectoryOptions. */
  readonly logRoots?: readonly string[];
}

/** Opens a log for appending; the file and its directory are created if they are missing. */
export async function openLogFile(
  path: string,
  linkedRoots: readonly string[],
): Promise<FileHandle> {
  using directory = await LogDirectory.open(dirname(path), { linkedRoots, make: true });
  return await directory.append(basename(path));
}

/**
 * The log of a container, open for appending. Writes are done one after the other. Links and special files
 * that a container puts at its path are neither followed nor opened; see LogDirectory.
 */
export class CriLog {
  readonly #deps: CriLogDeps;
  #path: string;
  #file: FileHandle;
  #writes: Semaphore;
  #last: Promise<void> = Promise.resolve();
  #failing = false;

  private constructor(path: string, file: FileHandle, writes: Semaphore, deps: CriLogDeps) {
    this.#path = path;
    this.#file = file;
    this.#writes = writes;
    this.#deps = deps;
  }

  /** Opens the log; see {@link openLogFile}. */
  static async open(path: string, deps: CriLogDeps): Promise<CriLog> {
    return CriLog.of(path, await openLogFile(path, deps.logRoots ?? []), deps);
  }

  /** A log that is open already. The CriLog closes `file`. */
  static async of(path: string, file: FileHandle, deps: CriLogDeps): Promise<CriLog> {
    return new CriLog(path, file, await writesToDiskOf(file), deps);
  }

  /** The path of the open log. */
  get path(): string {
    return this.#path;
  }

  /**
   * Appends to the log; resolves when that is done. Never rejects: output that cannot be written, as on a
   * full disk, is lost, and the container continues.
   */
  write(bytes: Buffer): Promise<void> {
    return this.#queue(async () => {
      if (bytes.length === 0) return;
      using _turn = await this.#writes.acquire();
      try {
        for (let done = 0; done < bytes.length; ) {
          done += (await this.#file.write(bytes, done)).bytesWritten;
        }
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) {
          this.#deps.log.warn(
            `failed to write log "${this.#path}", lines are lost: ${messageOf(error)}`,
          );
        }
        this.#failing = true;
      }
    });
  }

  /** Continues in a new file at `path`, unless the open one is there. On failure the open one stays in use. */
  async reopen(path: string): Promise<void> {
    const failure: { error?: unknown } = {};
    await this.#queue(async () => {
      try {
        const file = await this.#newFile(path);
        if (file === undefined) return;
        await this.#file.close().catch(() => undefined);
        this.#file = file;
        this.#writes = await writesToDiskOf(file);
        this.#path = path;
      } catch (error) {
        failure.error = error;
      }
    });
    if ("error" in failure) throw failure.error;
  }

  /** Closes the file after all writes. Idempotent. */
  close(): Promise<void> {
    return this.#queue(() => this.#file.close().catch(() => undefined));
  }

  #queue(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(work);
    return this.#last;
  }

  /** A new file at the path, in place of any other; undefined when the open one is there. */
  async #newFile(path: string): Promise<FileHandle | undefined> {
    const { logRoots: linkedRoots = [] } = this.#deps;
    using directory = await LogDirectory.open(dirname(path), { linkedRoots });
    const name = basename(path);
    const own = await this.#file.stat({ bigint: true });
    const current = await directory.identity(name);
    if (current?.dev === own.dev && current.ino === own.ino) return undefined;
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

async function writesToDiskOf(file: FileHandle): Promise<Semaphore> {
  const { dev } = await file.stat({ bigint: true });
  let writes = writesByDisk.get(dev);
  if (writes === undefined) writesByDisk.set(dev, (writes = new Semaphore(writesPerDisk)));
  return writes;
}
