import { basename, dirname } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type { BegunLog, ContainerLogs, LogLine, LogSelection } from "../../core/container/index.ts";
import { within } from "../../base/wait.ts";
import { LogDirectory, type LogFile, logFileAt, readLog } from "../../linux/file/index.ts";
import { beginLog } from "./begin-log.ts";
import { LogRotations } from "./log-rotations.ts";

/** How many logs are read at once. Each has a descriptor, and is looked at four times a second while it is followed. */
const maxReaders = 64;

/**
 * How many readers wait for the disk at once: they block threads of the shared pool, and a disk that hangs must not
 * block all of them.
 */
const maxWaiting = 4;

/** How long a rotation waits for its readers: opening a file takes less than a millisecond, unless its disk hangs. */
const rotationMs = 1_000;

/** Reads logs from their files, whose directories and links containers may have changed; see LogDirectory. */
export class FileLogs implements ContainerLogs {
  readonly #linkedRoots: readonly string[];
  readonly #turns = new Semaphore(maxWaiting);
  readonly #closing = new AbortController();
  readonly #followers = new Map<string, Set<LogRotations>>();
  #readers = 0;

  /** `linkedRoots`: see LogDirectoryOptions. */
  constructor(linkedRoots: readonly string[] = []) {
    this.#linkedRoots = linkedRoots;
  }

  async *read(
    path: string,
    selection: LogSelection,
    caller: AbortSignal,
  ): AsyncGenerator<readonly LogLine[]> {
    this.#closing.signal.throwIfAborted();
    if (this.#readers >= maxReaders) {
      throw new RuntimeError(
        "resource-exhausted",
        `read log "${path}": ${maxReaders} logs are being read or followed; end one of these calls, and try again`,
      );
    }
    this.#readers += 1;
    try {
      await using rotations = selection.follow === undefined ? undefined : this.#follow(path);
      const file = this.#fileAt(path, () => rotations?.next());
      const signal = AbortSignal.any([caller, this.#closing.signal]);
      yield* readLog(file, { ...selection, signal, turns: this.#turns });
      this.#closing.signal.throwIfAborted();
    } finally {
      this.#readers -= 1;
    }
  }

  async rotated(path: string): Promise<void> {
    const followers = this.#followers.get(path);
    if (followers === undefined) return;
    const opened = [...followers].map((each) => each.add(() => this.#fileAt(path).open()));
    await within(Promise.all(opened), rotationMs);
  }

  async begin(path: string, from: string, signal: AbortSignal): Promise<BegunLog> {
    using _turn = await this.#turns.acquire(signal);
    return await beginLog(path, from, { linkedRoots: this.#linkedRoots, signal });
  }

  close(reason: Error): void {
    this.#closing.abort(reason);
  }

  #follow(path: string): LogRotations {
    const followers = this.#followers.get(path) ?? new Set();
    this.#followers.set(path, followers);
    const rotations = new LogRotations(path, () => {
      followers.delete(rotations);
      if (followers.size === 0) this.#followers.delete(path);
    });
    followers.add(rotations);
    return rotations;
  }

  #fileAt(path: string, next?: LogFile["next"]): LogFile {
    const linkedRoots = this.#linkedRoots;
    return {
      // Its identity() follows links of directories, and only says when to open: that does not.
      ...logFileAt(path),
      open: async () => {
        using directory = await LogDirectory.open(dirname(path), { linkedRoots });
        return await directory.read(basename(path));
      },
      ...(next && { next }),
    };
  }
}
