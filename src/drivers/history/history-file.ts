import { appendFile, mkdir, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { HistoryEntry, PastOperation } from "../../core/operation/index.ts";
import { formatEntry, parseEntry } from "./entry.ts";

export interface HistoryFileOptions {
  /** Its directory, which is made if it does not exist. */
  readonly directory: string;
  readonly log: Logger;
  /** Size at which the file becomes the old one, which it replaces; 1 MiB if not given. */
  readonly maxBytes?: number;
  /** How long operations are collected before they are written, in milliseconds; 200 if not given. */
  readonly delayMs?: number;
}

/** Lines that are parsed in one turn of the event loop: about 1 ms. */
const linesInTurn = 100;

/** Operations that wait for the disk. More are dropped: the history is not worth the memory. */
const maxPending = 1_000;

/**
 * The finished operations as lines of JSON in two files: the current one, and the one before it. Nothing waits for the
 * disk: the files are not synced, and operations of the last moments are lost when the daemon is killed. What cannot be
 * written is dropped, with one warning.
 */
export class HistoryFile implements AsyncDisposable {
  readonly #path: string;
  readonly #oldPath: string;
  readonly #options: HistoryFileOptions;
  #pending: string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** The size of the current file; undefined until the first write. */
  #size: number | undefined;
  #hasWarned = false;

  constructor(options: HistoryFileOptions) {
    this.#options = options;
    this.#path = join(options.directory, "operations.jsonl");
    this.#oldPath = join(options.directory, "operations.old.jsonl");
  }

  /** Adds a finished operation. It is written later. */
  add(object: string, past: PastOperation): void {
    if (this.#pending.length >= maxPending) return;
    this.#pending.push(formatEntry({ object, past }));
    this.#timer ??= setTimeout(() => void this.flush(), this.#options.delayMs ?? 200).unref();
  }

  /** Writes what was added so far. Never rejects. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing
      .then(() => this.#write())
      .catch((error: unknown) => {
        // The next write looks again: the directory may be gone, or half a line may have been written.
        this.#size = undefined;
        if (this.#hasWarned) return;
        this.#hasWarned = true;
        const problem = `write history "${this.#path}": ${messageOf(error)}`;
        this.#options.log.warn(
          `${problem}; davit why will not show these operations after a restart`,
        );
      });
    return this.#writing;
  }

  async #write(): Promise<void> {
    if (this.#pending.length === 0) return;
    let text = this.#pending.join("");
    this.#pending = [];
    if (this.#size === undefined) {
      await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
      this.#size = await sizeOf(this.#path);
      // A daemon that was killed may have left half a line.
      if (this.#size > 0) text = `\n${text}`;
    }
    if (this.#size >= (this.#options.maxBytes ?? 1024 * 1024)) {
      await rename(this.#path, this.#oldPath);
      this.#size = 0;
    }
    await appendFile(this.#path, text, { mode: 0o600 });
    this.#size += Buffer.byteLength(text);
    this.#hasWarned = false;
  }

  /**
   * The operations that have been written, oldest first. Later ones are written afterwards. Lines that cannot be parsed
   * are skipped. Rejects if a file cannot be read.
   */
  read(): Promise<readonly HistoryEntry[]> {
    const read = this.#writing.then(() => this.#read());
    this.#writing = read.then(
      () => undefined,
      () => undefined,
    );
    return read;
  }

  async #read(): Promise<readonly HistoryEntry[]> {
    const entries: HistoryEntry[] = [];
    for (const path of [this.#oldPath, this.#path]) {
      const lines = (await textOf(path)).split("\n");
      for (let from = 0; from < lines.length; from += linesInTurn) {
        for (const line of lines.slice(from, from + linesInTurn)) {
          const entry = parseEntry(line);
          if (entry !== undefined) entries.push(entry);
        }
        await nextTurn();
      }
    }
    return entries;
  }

  /** Writes what is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return 0;
    throw error;
  }
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return "";
    throw error;
  }
}
