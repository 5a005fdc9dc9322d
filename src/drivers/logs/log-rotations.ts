import type { FileHandle } from "node:fs/promises";
import { RuntimeError } from "../../base/errors.ts";

/**
 * How many files wait for one reader. They keep their space on the disk while they are open, even if they are deleted.
 */
const maxFiles = 4;

/** The files that rotations have put at the path of a log, and that one reader has not begun to read. */
export class LogRotations implements AsyncDisposable {
  readonly #path: string;
  readonly #onEnd: () => void;
  #files: Promise<FileHandle>[] = [];
  #isTooSlow = false;

  /** `onEnd` is called once, when it takes no more. */
  constructor(path: string, onEnd: () => void) {
    this.#path = path;
    this.#onEnd = onEnd;
  }

  /** Opens the file that is at the path now. Never rejects: the reader gets the error. */
  async add(open: () => Promise<FileHandle>): Promise<void> {
    if (this.#isTooSlow || this.#files.length === maxFiles) {
      this.#isTooSlow = true;
      return;
    }
    const file = open();
    this.#files.push(file);
    await file.catch(() => undefined);
  }

  /**
   * The oldest file, which the caller closes; undefined when there is none. `resource-exhausted` after the last one
   * that was kept for a reader that does not keep up.
   */
  next(): Promise<FileHandle> | undefined {
    const file = this.#files.shift();
    if (file !== undefined || !this.#isTooSlow) return file;
    throw new RuntimeError(
      "resource-exhausted",
      `read log "${this.#path}": the reader does not keep up, and lines are missing: ${maxFiles} files of the log were waiting for it when the log was rotated again; read the rotated files, and follow the log again`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#onEnd();
    const files = this.#files;
    this.#files = [];
    for (const file of files) await (await file.catch(() => undefined))?.close();
  }
}
