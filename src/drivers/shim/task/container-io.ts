import { rmSync } from "node:fs";
import type { Writable } from "node:stream";

import { messageOf } from "../../../base/errors.ts";
import type { Clock } from "../../../base/time.ts";
import {
  type FifoReader,
  type FifoWriter,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "../../../linux/stream/index.ts";
import { AttachedClients, inputInto } from "../../../stdio/attached-clients.ts";
import { CriLog, type CriLogDeps } from "../../../stdio/cri-log.ts";
import { CriLogLines, type LogStream } from "../../../stdio/cri-log-lines.ts";
import type { StateLayout } from "../process/state-layout.ts";
import { within } from "../../../base/wait.ts";

/** How a container's output is kept. */
export interface IoChoice {
  /** CRI log to write; undefined for none. */
  readonly logPath: string | undefined;
  /** All output is on stdout then. */
  readonly terminal: boolean;
  readonly stdin: boolean;
}

/** Paths of fifos as a shim is given them; "" for a stream that there is not. */
export interface IoPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

interface Deps extends CriLogDeps {
  readonly clock: Clock;
  /** CriLog.open if not given. */
  readonly openLog?: (path: string, deps: CriLogDeps) => Promise<CriLog>;
}

/** How long output is awaited that a process left behind still may hold open. */
const drainMs = 1_000;
/** How long the log may take for what was read: its disk may hang, and the container's end does not wait for that. */
const writeMs = 2_000;

/**
 * The streams of a container: fifos that its shim copies from and to, and its log, which is written
 * here. Output is read only as fast as the log takes it; a shim blocks then, and its container.
 *
 * While no daemon runs, the kernel keeps up to 64 KiB of output in each fifo.
 */
export class ContainerIo {
  /** Clients that are attached. */
  readonly clients = new AttachedClients();
  readonly #readers: FifoReader[] = [];
  readonly #ended: Promise<unknown>;
  readonly #stdin: FifoWriter | undefined;
  #log: CriLog | undefined;
  readonly #deps: Deps;
  #closing: Promise<void> | undefined;

  private constructor(
    readers: Readonly<Record<LogStream, FifoReader | undefined>>,
    stdin: FifoWriter | undefined,
    log: CriLog | undefined,
    deps: Deps,
  ) {
    this.#stdin = stdin;
    this.#log = log;
    this.#deps = deps;
    const copies = (["stdout", "stderr"] as const).map((name) => {
      const reader = readers[name];
      if (reader === undefined) return Promise.resolve();
      this.#readers.push(reader);
      return this.#copy(reader, name, deps.clock).catch((error: unknown) => {
        deps.log.warn(`read ${name} of a container: ${messageOf(error)}`);
      });
    });
    this.#ended = Promise.all(copies);
  }

  /** Makes the fifos of a container that is to be started. */
  static make(places: StateLayout, id: string, choice: IoChoice): void {
    const paths = ContainerIo.paths(places, id, choice);
    for (const path of [paths.stdin, paths.stdout, paths.stderr]) if (path !== "") makeFifo(path);
  }

  /** What the shim is told of the fifos. */
  static paths(places: StateLayout, id: string, { stdin, terminal }: IoChoice): IoPaths {
    return {
      stdin: stdin ? places.taskFile(id, "stdin") : "",
      stdout: places.taskFile(id, "stdout"),
      stderr: terminal ? "" : places.taskFile(id, "stderr"),
    };
  }

  /** Opens fifos that were made, by this daemon or an earlier one, and the log. */
  static async open(
    places: StateLayout,
    id: string,
    choice: IoChoice,
    deps: Deps,
  ): Promise<ContainerIo> {
    const paths = ContainerIo.paths(places, id, choice);
    const { logPath } = choice;
    const log = logPath === undefined ? undefined : await openLog(logPath, deps);
    const opened: { close(): void }[] = [];
    const reader = (path: string): FifoReader | undefined => {
      if (path === "") return undefined;
      const one = openFifoReader(path);
      opened.push(one);
      return one;
    };
    try {
      const readers = { stdout: reader(paths.stdout), stderr: reader(paths.stderr) };
      const stdin = paths.stdin === "" ? undefined : openFifoWriter(paths.stdin);
      return new ContainerIo(readers, stdin, log, deps);
    } catch (error) {
      for (const one of opened) one.close();
      await log?.close();
      throw error;
    }
  }

  /**
   * Writes what is still to be read, once nobody writes any more, and closes everything. Waits 3 s at
   * most: a log whose disk hangs is closed when that goes on. Idempotent.
   */
  async finish(): Promise<void> {
    for (const reader of this.#readers) reader.letEnd();
    await within(this.#ended, drainMs);
    if (!(await within(this.#close(), writeMs))) {
      this.#deps.log.warn(`write the last of log "${this.#log?.path ?? ""}": its disk hangs`);
    }
  }

  /**
   * Closes everything now, the log when what was read is written: the container goes on without this
   * daemon. Idempotent.
   */
  release(): void {
    void this.#close();
  }

  /** Resolves when the log is closed. */
  #close(): Promise<void> {
    for (const reader of this.#readers) reader.close();
    this.#stdin?.close();
    this.#closing ??= this.#ended.then(() => this.#log?.close());
    return this.#closing;
  }

  /** The container's stdin for one client; `onEnd` is called when that has no more. */
  input(onEnd: () => void): Writable | undefined {
    const shared = this.#stdin?.stream;
    if (shared === undefined || shared.destroyed) return undefined;
    return inputInto(shared, onEnd);
  }

  /** What was written to the stdin is all that comes. */
  endInput(): void {
    this.#stdin?.stream.end();
    this.#stdin?.letEnd();
  }

  /** See ContainerRuntime.reopenLog. A log that could not be opened before is opened now. */
  async reopenLog(path: string): Promise<void> {
    if (this.#log === undefined) this.#log = await openLog(path, this.#deps);
    else await this.#log.reopen(path);
  }

  async #copy(reader: FifoReader, name: LogStream, clock: Clock): Promise<void> {
    const lines = new CriLogLines(name);
    try {
      for await (const chunk of reader.stream) {
        this.clients.give(name, chunk as Buffer);
        await this.#log?.write(lines.push(chunk as Buffer, clock.nowNs()));
      }
    } finally {
      await this.#log?.write(lines.end(clock.nowNs()));
    }
  }
}

function openLog(path: string, deps: Deps): Promise<CriLog> {
  return (deps.openLog ?? CriLog.open)(path, deps);
}

/** Removes fifos that nobody needs any more. */
export function removeFifos(paths: readonly string[]): void {
  for (const path of paths) rmSync(path, { force: true });
}
