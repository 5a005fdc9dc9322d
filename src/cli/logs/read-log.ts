import { constants } from "node:fs";
import { type FileHandle, lstat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { openRegular } from "../../linux/file/index.ts";
import { LineSplitter, type LogLine, parseLogLine } from "./log-line.ts";

/** How much of a log is wanted. */
export interface ReadLogOptions {
  /** Only so many lines of output from the end. */
  readonly tail?: number;
  /** Only lines from this time on. Milliseconds since 1970. */
  readonly sinceMs?: number;
  /** Go on until the container has ended: asked now and then when the end of the log is reached. */
  readonly follow?: { readonly hasEnded: () => Promise<boolean> };
  readonly signal: AbortSignal;
}

const { O_NONBLOCK, O_RDONLY } = constants;
const chunkBytes = 64 * 1024;
const pollMs = 100;
// A status for every so many looks at the file.
const looksPerStatus = 5;

/**
 * The lines of a CRI log in batches. Follows a rotation: when another file stands at the path, the
 * old one is read to its end first, which is final then, since the writer opens the new one before
 * it gets the name (conmon) or before it is written (containerd).
 *
 * Rejects with the errno's kind when the file cannot be read, and with `failed-precondition` when it is a link,
 * a FIFO or anything else that containers may have put there: it is not opened then. With `follow`, waits for a
 * file that is not there yet.
 */
export async function* readLog(
  path: string,
  options: ReadLogOptions,
): AsyncGenerator<readonly LogLine[]> {
  let log = await openLog(path, options);
  if (log === undefined) return;
  const wanted = sinceFilter(options.sinceMs);
  let looks = 0;
  let last = false;
  try {
    log.position = options.tail === undefined ? 0 : await tailStart(log.file, options.tail);
    while (!options.signal.aborted) {
      const lines = await log.read();
      if (lines !== undefined) {
        yield lines.filter(wanted);
        continue;
      }
      if (options.follow === undefined || last) return;
      const next = await log.successor(path);
      if (next !== undefined) {
        // Written between our last look and the rotation.
        for (let more = await log.read(); more !== undefined; more = await log.read()) {
          yield more.filter(wanted);
        }
        await log.close();
        log = next;
        continue;
      }
      looks += 1;
      last = looks % looksPerStatus === 0 && (await options.follow.hasEnded());
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

/** A log file, and where it was read to. */
class OpenLog {
  readonly file: FileHandle;
  position = 0;
  readonly #splitter = new LineSplitter();

  constructor(file: FileHandle) {
    this.file = file;
  }

  /** The lines of the next chunk, which can be none; undefined at the end. */
  async read(): Promise<readonly LogLine[] | undefined> {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    const { bytesRead } = await this.file.read(buffer, 0, chunkBytes, this.position);
    if (bytesRead === 0) {
      // Cut short by whoever copies logs away before truncating them: it begins again.
      const { size } = await this.file.stat();
      if (size < this.position) this.position = 0;
      return undefined;
    }
    this.position += bytesRead;
    const lines: LogLine[] = [];
    for (const line of this.#splitter.push(buffer.subarray(0, bytesRead))) {
      const parsed = parseLogLine(line);
      // Not of the CRI's form, and still what the log says.
      lines.push(parsed ?? { time: "", stream: "stdout", partial: false, text: line });
    }
    return lines;
  }

  /** The file that has taken the name since this one was opened, if one has. */
  async successor(path: string): Promise<OpenLog | undefined> {
    try {
      const [own, there] = await Promise.all([this.file.stat(), lstat(path)]);
      if (own.ino === there.ino && own.dev === there.dev) return undefined;
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

/** Where the last `count` whole lines of output begin. Reads from the end, not the whole file. */
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
