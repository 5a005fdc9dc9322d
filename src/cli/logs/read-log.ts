import { constants } from "node:fs";
import { type FileHandle, lstat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { openRegular } from "../../linux/file/index.ts";
import { LineSplitter, type LogLine, parseLogLine } from "./log-line.ts";

/** Which lines of a log to read. */
export interface ReadLogOptions {
  /** Only this number of lines from the end. */
  readonly tail?: number;
  /** Only lines from this time on, in milliseconds since 1970. */
  readonly sinceMs?: number;
  /** Follow the log until the container has exited, which is polled at the end of the log. */
  readonly follow?: { readonly hasEnded: () => Promise<boolean> };
  readonly signal: AbortSignal;
}

const { O_NONBLOCK, O_RDONLY } = constants;
const chunkBytes = 64 * 1024;
const pollMs = 100;
// The number of polls of the file between two polls of the container's status.
const pollsPerStatus = 5;

/**
 * The lines of a CRI log in batches. Follows a rotation: when another file is at the path, the old one is
 * read to its end first. That end is final, since the writer opens the new file before
 * the rename (conmon) or before the first write (containerd).
 *
 * Rejects with the kind of the errno when the file cannot be read, and with `failed-precondition` when it is a
 * link, a FIFO or another file that a container may have created; such a file is not opened. With `follow`,
 * waits until the file exists.
 */
export async function* readLog(
  path: string,
  options: ReadLogOptions,
): AsyncGenerator<readonly LogLine[]> {
  let log = await openLog(path, options);
  if (log === undefined) return;
  const matches = sinceFilter(options.sinceMs);
  let polls = 0;
  let last = false;
  try {
    log.position = options.tail === undefined ? 0 : await tailStart(log.file, options.tail);
    while (!options.signal.aborted) {
      const lines = await log.read();
      if (lines !== undefined) {
        yield lines.filter(matches);
        continue;
      }
      if (options.follow === undefined || last) return;
      const next = await log.successor(path);
      if (next !== undefined) {
        // Written between the last poll and the rotation.
        for (let more = await log.read(); more !== undefined; more = await log.read()) {
          yield more.filter(matches);
        }
        await log.close();
        log = next;
        continue;
      }
      polls += 1;
      last = polls % pollsPerStatus === 0 && (await options.follow.hasEnded());
      if (!last) await pause(options.signal);
    }
  } finally {
    await log.close();
  }
}

async function pause(signal: AbortSignal): Promise<void> {
  await sleep(pollMs, undefined, { signal }).catch(() => undefined);
}

async function openLog(path: string, options: ReadLogOptions): Promise<OpenLog | undefined> {
  const { follow, signal } = options;
  for (;;) {
    try {
      return new OpenLog(await openFile(path));
    } catch (cause) {
      if (follow === undefined || errnoCode(cause) !== "ENOENT") {
        throw systemError(`read log "${path}"`, cause);
      }
    }
    if (signal.aborted || (await follow.hasEnded())) return undefined;
    await pause(signal);
  }
}

function openFile(path: string): Promise<FileHandle> {
  return openRegular(path, O_RDONLY | O_NONBLOCK, `read log "${path}"`);
}

/** A log file and the position in it. */
class OpenLog {
  readonly file: FileHandle;
  position = 0;
  readonly #splitter = new LineSplitter();

  constructor(file: FileHandle) {
    this.file = file;
  }

  /** The complete lines of the next chunk, which may be none; undefined at the end of the file. */
  async read(): Promise<readonly LogLine[] | undefined> {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    const { bytesRead } = await this.file.read(buffer, 0, chunkBytes, this.position);
    if (bytesRead === 0) {
      // The file was truncated (copytruncate of logrotate): start again.
      const { size } = await this.file.stat();
      if (size < this.position) this.position = 0;
      return undefined;
    }
    this.position += bytesRead;
    const lines: LogLine[] = [];
    for (const line of this.#splitter.push(buffer.subarray(0, bytesRead))) {
      const parsed = parseLogLine(line);
      // A malformed line is printed unchanged.
      lines.push(parsed ?? { time: "", stream: "stdout", partial: false, text: line });
    }
    return lines;
  }

  /** The file that has replaced this one at the path, if any. */
  async successor(path: string): Promise<OpenLog | undefined> {
    try {
      const [own, current] = await Promise.all([this.file.stat(), lstat(path)]);
      if (own.ino === current.ino && own.dev === current.dev) return undefined;
      return new OpenLog(await openFile(path));
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined; // between two files
      throw systemError(`read log "${path}"`, cause);
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/** The position of the last `count` complete lines of output. Reads the file from its end. */
async function tailStart(file: FileHandle, count: number): Promise<number> {
  const { size } = await file.stat();
  if (count === 0) return size;
  let position = size;
  let rest: Buffer = Buffer.alloc(0);
  let found = 0;
  while (position > 0) {
    const length = Math.min(chunkBytes, position);
    position -= length;
    const chunk = Buffer.alloc(length);
    await file.read(chunk, 0, length, position);
    const text = Buffer.concat([chunk, rest]);
    let end = text.length;
    while (end > 0) {
      const begin = end < 2 ? 0 : text.lastIndexOf(0x0a, end - 2) + 1;
      if (begin === 0 && position > 0) break; // the line begins in the chunk before
      const whole = parseLogLine(text.subarray(begin, end))?.partial !== true;
      if (whole) found += 1;
      if (found > count) return position + end;
      end = begin;
    }
    rest = text.subarray(0, end);
  }
  return 0;
}

function sinceFilter(sinceMs: number | undefined): (line: LogLine) => boolean {
  if (sinceMs === undefined) return () => true;
  return ({ time }) => !(Date.parse(time) < sinceMs);
}
