import { constants, type FSWatcher, watch } from "node:fs";
import { type FileHandle, lstat } from "node:fs/promises";
import { isKind } from "../../base/errors.ts";
import { parseLogTime } from "../../base/log-time.ts";
import type { Semaphore } from "../../base/semaphore.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import type { FileIdentity } from "./log-directory.ts";
import { headBytes, type LogLine, LogLines, parseLogLine } from "./log-line.ts";
import { Pause } from "./pause.ts";
import { openRegular } from "./regular-file.ts";

/** Which lines of a log to read. */
export interface ReadLogOptions {
  /** Only this number of lines from the end, before `sinceNs` and `untilNs` count. */
  readonly tail?: number | undefined;
  /** Only lines from this time on, in nanoseconds since 1970. A line without a valid time is always returned. */
  readonly sinceNs?: bigint | undefined;
  /** Only lines before this time. A followed log ends at it. */
  readonly untilNs?: bigint | undefined;
  /** Follow the log until `ended` is aborted, which says that the container has exited and its log is complete. */
  readonly follow?: { readonly ended: AbortSignal } | undefined;
  readonly signal: AbortSignal;
  /** Limits the threads that wait for the disk at once, with other readers. */
  readonly turns?: Semaphore | undefined;
}

/** The file that a container's log is written to at a time. */
export interface LogFile {
  /** What begins an error: `read log "PATH"`. */
  readonly doing: string;
  /** Opens it for reading. Anything but a regular file is refused without being opened. */
  open(): Promise<FileHandle>;
  /** Identifies what is at its path; undefined when nothing is. */
  identity(): Promise<FileIdentity | undefined>;
  /**
   * Takes the oldest file that a rotation has put at the path, where rotations are reported; undefined when there are
   * no more.
   */
  next?(): Promise<FileHandle> | undefined;
}

const { O_NONBLOCK, O_RDONLY } = constants;
const chunkBytes = 64 * 1024;
/** A longer line is returned in parts. A runtime writes lines of 16 KiB, but a container may have access to the file. */
const maxLineBytes = 256 * 1024;

/** The log at a path, whose directories may be reached through symbolic links, but not the file itself. */
export function logFileAt(path: string): LogFile {
  const doing = `read log "${path}"`;
  return {
    doing,
    open: () => openRegular(path, O_RDONLY | O_NONBLOCK, doing),
    identity: () =>
      lstat(path, { bigint: true }).catch((error: unknown) => {
        if (isMissing(error)) return undefined;
        throw error;
      }),
  };
}

/**
 * The lines of a CRI log in batches, read no faster than they are consumed. Without `follow`, ends where the file
 * ended at the first read. With it, the first batch comes when the log is followed and may be empty, and
 * the file need not exist yet. Follows a rotation: when another file is at the path, the old one is
 * read to its end first. That end is final, since the writer opens the new file before
 * the rename (conmon) or before the first write (containerd). Where rotations are not reported, a file that is made
 * and rotated away between two reads is missed.
 *
 * Rejects with the kind of the errno when the file cannot be read, and with `failed-precondition` when it is a
 * link, a FIFO or another file that a container may have created; such a file is not opened. Returns when `signal`
 * is aborted.
 */
export async function* readLog(
  log: LogFile | string,
  options: ReadLogOptions,
): AsyncGenerator<readonly LogLine[]> {
  const file = typeof log === "string" ? logFileAt(log) : log;
  const matches = timeFilter(options);
  const batches = options.follow === undefined ? readOnce(file, options) : follow(file, options);
  try {
    for await (const lines of batches) yield lines.filter(matches);
  } catch (error) {
    if (!options.signal.aborted) throw systemError(file.doing, error);
  }
}

type Batches = AsyncGenerator<readonly LogLine[], void, undefined>;

async function* readOnce(file: LogFile, options: ReadLogOptions): Batches {
  await using open = await OpenLog.of(await inTurn(options, () => file.open()), file, options);
  if (options.tail !== undefined) await open.seekTail(options.tail);
  const end = await open.size();
  while (!options.signal.aborted) {
    const lines = await open.read(end);
    if (lines === undefined) return;
    yield lines;
  }
}

async function* follow(file: LogFile, options: ReadLogOptions): Batches {
  const pause = new Pause(endsOf(options));
  let open = await openNow(file, options);
  try {
    if (options.tail !== undefined) await open?.seekTail(options.tail);
    yield [];
    open ??= await openLater(file, options, pause);
    while (open !== undefined && !options.signal.aborted) {
      // Asked before the read: what was written before the end is then read.
      const isOver = hasEnded(options);
      const lines = await open.read();
      if (lines !== undefined) {
        pause.reset();
        yield lines;
        continue;
      }
      const next = await successorOf(open, file, options);
      if (next !== undefined) {
        await using last = open;
        open = next;
        // Written between the last read and the rotation.
        for (let more = await last.read(); more !== undefined; more = await last.read()) yield more;
      } else if (isOver) {
        return;
      } else {
        if (!open.watch(pause)) await pause.wait();
      }
    }
  } finally {
    await open?.[Symbol.asyncDispose]();
  }
}

/** The file that followed `current` at the path. */
async function successorOf(
  current: OpenLog,
  file: LogFile,
  options: ReadLogOptions,
): Promise<OpenLog | undefined> {
  const reported = await reportedAfter(current, file, options);
  if (reported !== undefined || !(await current.isReplaced())) return reported;
  const found = await openNow(file, options);
  // A rotation that was reported meanwhile may be an earlier one.
  const earlier = await reportedAfter(current, file, options);
  if (earlier === undefined) return found;
  await found?.[Symbol.asyncDispose]();
  return earlier;
}

/** The next file of a reported rotation. */
async function reportedAfter(
  current: OpenLog,
  file: LogFile,
  options: ReadLogOptions,
): Promise<OpenLog | undefined> {
  for (let next = file.next?.(); next !== undefined; next = file.next?.()) {
    const open = await openOf(next, file, options);
    if (open !== undefined && !current.isSame(open)) return open;
    // It was found at the path before the report.
    await open?.[Symbol.asyncDispose]();
  }
  return undefined;
}

function hasEnded({ follow, untilNs }: ReadLogOptions): boolean {
  const isPast = untilNs !== undefined && BigInt(Date.now()) * 1_000_000n > untilNs;
  return isPast || follow?.ended.aborted === true;
}

function endsOf({ signal, follow }: ReadLogOptions): AbortSignal {
  return AbortSignal.any([signal, ...(follow === undefined ? [] : [follow.ended])]);
}

/** Undefined where the log does not exist. */
async function openNow(file: LogFile, options: ReadLogOptions): Promise<OpenLog | undefined> {
  return await openOf(
    inTurn(options, () => file.open()),
    file,
    options,
  );
}

async function openOf(
  opening: Promise<FileHandle>,
  file: LogFile,
  options: ReadLogOptions,
): Promise<OpenLog | undefined> {
  try {
    return await OpenLog.of(await opening, file, options);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The file or its directory does not exist. */
function isMissing(error: unknown): boolean {
  return errnoCode(error) === "ENOENT" || isKind(error, "not-found");
}

/** Waits until the log exists; undefined if it never does. */
async function openLater(
  file: LogFile,
  options: ReadLogOptions,
  pause: Pause,
): Promise<OpenLog | undefined> {
  while (!options.signal.aborted) {
    const isOver = hasEnded(options);
    const open = await openNow(file, options);
    if (open !== undefined || isOver) return open;
    await pause.wait();
  }
  return undefined;
}

type Turns = Pick<ReadLogOptions, "turns" | "signal">;

/** A log file that is open, and the position in it. */
class OpenLog implements AsyncDisposable {
  readonly #log: LogFile;
  readonly #file: FileHandle;
  readonly #identity: FileIdentity;
  readonly #turns: Turns;
  readonly #lines = new LogLines(maxLineBytes);
  #position = 0;
  #watcher: FSWatcher | "none" | undefined;

  private constructor(log: LogFile, file: FileHandle, identity: FileIdentity, turns: Turns) {
    this.#log = log;
    this.#file = file;
    this.#identity = identity;
    this.#turns = turns;
  }

  /** Takes over an open file. */
  static async of(file: FileHandle, log: LogFile, turns: Turns): Promise<OpenLog> {
    try {
      return new OpenLog(log, file, await file.stat({ bigint: true }), turns);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  isSame(other: OpenLog): boolean {
    const [own, its] = [this.#identity, other.#identity];
    return own.ino === its.ino && own.dev === its.dev;
  }

  /**
   * Tells `pause` about changes, so that a line is read at once, as the user of a terminal expects. True if this began
   * now: what was written before was not seen. Where the kernel has no watch left (inotify(7), max_user_watches),
   * changes are seen by looking.
   */
  watch(pause: Pause): boolean {
    if (this.#watcher !== undefined) return false;
    try {
      // By its descriptor: another file may be at the path.
      const watcher = watch(`/proc/self/fd/${this.#file.fd}`, () => {
        if (pause.changed()) return;
        // The reader is behind, and must not cost a turn of the event loop for each line that a container writes.
        watcher.close();
        this.#watcher = undefined;
      });
      this.#watcher = watcher.on("error", () => undefined);
      return true;
    } catch {
      this.#watcher = "none";
      return false;
    }
  }

  /** The complete lines of the next chunk before `end`, which may be none; undefined at the end of the file. */
  async read(end = Infinity): Promise<readonly LogLine[] | undefined> {
    const length = Math.min(chunkBytes, end - this.#position);
    if (length <= 0) return undefined;
    return await inTurn(this.#turns, async () => {
      const buffer = Buffer.allocUnsafe(length);
      const { bytesRead } = await this.#file.read(buffer, 0, length, this.#position);
      if (bytesRead > 0) {
        this.#position += bytesRead;
        return this.#lines.push(buffer.subarray(0, bytesRead));
      }
      // The file was truncated (copytruncate of logrotate): start again.
      if ((await this.#file.stat()).size < this.#position) {
        this.#position = 0;
        this.#lines.reset();
      }
      return undefined;
    });
  }

  /** Whether another file is at its path. Nothing is there between two files. */
  async isReplaced(): Promise<boolean> {
    const { dev, ino } = this.#identity;
    try {
      const current = await inTurn(this.#turns, () => this.#log.identity());
      return current !== undefined && (current.ino !== ino || current.dev !== dev);
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async size(): Promise<number> {
    return (await inTurn(this.#turns, () => this.#file.stat())).size;
  }

  /**
   * Goes to the beginning of the last `count` lines of output. Reads the file from its end, as far as is needed, and
   * holds one chunk of it.
   */
  async seekTail(count: number): Promise<void> {
    let position = await this.size();
    let found = 0;
    /** The end of the line that is looked at, behind its newline. What is behind the last newline is not a line yet. */
    let end: number | undefined;
    /** The bytes that follow the chunk, for the head of a line at its end. */
    let after: Buffer = Buffer.alloc(0);
    const isFull = (line: Buffer): boolean => parseLogLine(line)?.partial !== true;
    while (position > 0 && !this.#turns.signal.aborted) {
      const length = Math.min(chunkBytes, position);
      position -= length;
      const text = Buffer.concat([await this.#chunkAt(position, length), after]);
      for (let at = text.lastIndexOf(newline, length - 1); ; ) {
        const begin = position + at + 1;
        if (at < 0 && position > 0) break; // the line begins in the chunk before
        if (end !== undefined && isFull(headOf(text, at + 1, end - begin))) found += 1;
        if (end !== undefined && found > count) {
          this.#position = end;
          return;
        }
        end = begin;
        if (at <= 0) break;
        at = text.lastIndexOf(newline, at - 1);
      }
      after = text.subarray(0, headBytes);
    }
  }

  async #chunkAt(position: number, length: number): Promise<Buffer> {
    const chunk = Buffer.alloc(length);
    await inTurn(this.#turns, () => this.#file.read(chunk, 0, length, position));
    return chunk;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#watcher !== "none") this.#watcher?.close();
    await this.#file.close();
  }
}

const newline = 0x0a;

/** The first bytes of a line of `length` bytes, with its newline. */
function headOf(text: Buffer, begin: number, length: number): Buffer {
  return text.subarray(begin, begin + Math.min(headBytes, length - 1));
}

async function inTurn<T>({ turns, signal }: Turns, work: () => Promise<T>): Promise<T> {
  using _turn = await turns?.acquire(signal);
  return await work();
}

function timeFilter({ sinceNs, untilNs }: ReadLogOptions): (line: LogLine) => boolean {
  if (sinceNs === undefined && untilNs === undefined) return () => true;
  return ({ time }) => {
    const ns = parseLogTime(time);
    if (ns === undefined) return true;
    return (sinceNs === undefined || ns >= sinceNs) && (untilNs === undefined || ns < untilNs);
  };
}
