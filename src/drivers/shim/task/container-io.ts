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
import {
  openInputStream,
  openOutputStream,
  type StreamServer,
  streamUrl,
} from "../streams/streams.ts";
import { within } from "../../../base/wait.ts";

/** The streams and the log of a container. */
export interface IoChoice {
  /** CRI log to write; undefined for none. */
  readonly logPath: string | undefined;
  /** True: all output is on stdout. */
  readonly terminal: boolean;
  readonly stdin: boolean;
  /** The shim serves the streams, and there are no fifos. */
  readonly streaming: boolean;
}

/** Paths of fifos, or URLs of streams, as a shim gets them; "" for a stream that does not exist. */
export interface FifoPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

interface Deps extends CriLogDeps {
  readonly clock: Clock;
  /** CriLog.open if not given. */
  readonly openLog?: (path: string, deps: CriLogDeps) => Promise<CriLog>;
}

/** How long output is read after the container's end: a process that still runs may hold the fifo open. */
const drainMs = 1_000;
/** How long writing the last output may take: its disk may hang, and the container's end does not wait for it. */
const writeMs = 2_000;

/**
 * The streams of a container: fifos that its shim copies from and to, and its log, which is written
 * here. Output is read only as fast as it is written to the log; with a slow disk the shim blocks, and its container.
 *
 * While no daemon runs, the kernel keeps up to 64 KiB of output in each fifo.
 */
export class ContainerIo {
  /** Clients that are attached. */
  readonly clients: AttachedClients;
  readonly #readers: FifoReader[] = [];
  readonly #ended: Promise<unknown>;
  readonly #stdin: FifoWriter | undefined;
  #log: CriLog | undefined;
  readonly #deps: Deps;
  #closing: Promise<void> | undefined;

  private constructor(
    id: string,
    readers: Readonly<Record<LogStream, FifoReader | undefined>>,
    stdin: FifoWriter | undefined,
    log: CriLog | undefined,
    deps: Deps,
  ) {
    this.clients = new AttachedClients(id);
    this.#stdin = stdin;
    this.#log = log;
    this.#deps = deps;
    const copies = (["stdout", "stderr"] as const).map((name) => {
      const reader = readers[name];
      if (reader === undefined) return Promise.resolve();
      this.#readers.push(reader);
      return this.#copy(reader, name, deps.clock).catch((error: unknown) => {
        if (isClosedHere(error)) return;
        deps.log.warn(`failed to read ${name} of container "${id}": ${messageOf(error)}`);
      });
    });
    this.#ended = Promise.all(copies);
  }

  /** Creates the fifos of a container that is to be started. */
  static make(paths: StateLayout, id: string, choice: IoChoice): void {
    if (choice.streaming) return;
    const fifos = ContainerIo.fifoPaths(paths, id, choice);
    for (const path of [fifos.stdin, fifos.stdout, fifos.stderr]) if (path !== "") makeFifo(path);
  }

  /** The paths that the shim gets. */
  static fifoPaths(paths: StateLayout, id: string, { stdin, terminal }: IoChoice): FifoPaths {
    return {
      stdin: stdin ? paths.taskFile(id, "stdin") : "",
      stdout: paths.taskFile(id, "stdout"),
      stderr: terminal ? "" : paths.taskFile(id, "stderr"),
    };
  }

  /** What the shim gets: paths of fifos, or URLs of its own streams, which are named after the container. */
  static pathsFor(
    shim: Pick<StreamServer, "address">,
    paths: StateLayout,
    id: string,
    choice: IoChoice,
  ): FifoPaths {
    const fifos = ContainerIo.fifoPaths(paths, id, choice);
    if (!choice.streaming) return fifos;
    const url = (name: "stdin" | "stdout" | "stderr"): string =>
      fifos[name] === "" ? "" : streamUrl(shim.address, `${id}-${name}`);
    return { stdin: url("stdin"), stdout: url("stdout"), stderr: url("stderr") };
  }

  /**
   * Opens the fifos, which this daemon or an earlier one has created, and the log. With `server`, it opens the streams
   * of the shim instead.
   */
  static async open(
    paths: StateLayout,
    id: string,
    choice: IoChoice,
    deps: Deps,
    server?: StreamServer,
  ): Promise<ContainerIo> {
    const fifos = ContainerIo.fifoPaths(paths, id, choice);
    const { logPath } = choice;
    const log = logPath === undefined ? undefined : await openLog(logPath, deps);
    const opened: { close(): void }[] = [];
    const reader = async (name: LogStream): Promise<FifoReader | undefined> => {
      if (fifos[name] === "") return undefined;
      const one =
        server === undefined
          ? openFifoReader(fifos[name])
          : await openOutputStream(server.client, `${id}-${name}`);
      opened.push(one);
      return one;
    };
    const writer = async (): Promise<FifoWriter | undefined> => {
      if (fifos.stdin === "") return undefined;
      if (server === undefined) return openFifoWriter(fifos.stdin);
      return openInputStream(server.client, `${id}-stdin`);
    };
    try {
      const readers = { stdout: await reader("stdout"), stderr: await reader("stderr") };
      return new ContainerIo(id, readers, await writer(), log, deps);
    } catch (error) {
      for (const one of opened) one.close();
      await log?.close();
      throw error;
    }
  }

  /**
   * Opens the fifos and the log of a container that an earlier daemon started. If the log cannot be opened, the
   * output is read without it, as the container would block otherwise. Undefined if that fails, too.
   */
  static async adopt(
    paths: StateLayout,
    id: string,
    choice: IoChoice,
    deps: Deps,
    server?: StreamServer,
  ): Promise<ContainerIo | undefined> {
    if (choice.streaming && server === undefined) return undefined;
    for (const each of [choice, { ...choice, logPath: undefined }]) {
      try {
        return await ContainerIo.open(paths, id, each, deps, server);
      } catch (error) {
        deps.log.error(`failed to adopt output of container "${id}": ${messageOf(error)}`);
      }
    }
    return undefined;
  }

  /**
   * Writes the last output when no process writes any more, and closes everything. Waits 3 s at
   * most: a log whose disk hangs is closed when the disk answers. Idempotent.
   */
  async finish(): Promise<void> {
    for (const reader of this.#readers) reader.letEnd();
    await within(this.#ended, drainMs);
    if (!(await within(this.#close(), writeMs))) {
      this.#deps.log.warn(
        `the last output is not written to log "${this.#log?.path ?? ""}" yet: its disk hangs`,
      );
    }
  }

  /**
   * Closes the fifos now, and the log when the output that was read is written; the container continues without this
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

  /** The container's stdin for one client; `onEnd` is called at the end of the client's input. */
  input(onEnd: () => void): Writable | undefined {
    const shared = this.#stdin?.stream;
    if (shared === undefined || shared.destroyed) return undefined;
    return inputInto(shared, onEnd);
  }

  /** Ends the container's stdin. */
  endInput(): void {
    this.#stdin?.stream.end();
    void this.#stdin?.letEnd();
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
        this.clients.write(name, chunk as Buffer);
        await this.#log?.write(lines.push(chunk as Buffer, clock.nowNs()));
      }
    } finally {
      await this.#log?.write(lines.end(clock.nowNs()));
    }
  }
}

/** True for the end of a stream that `close` of its reader caused: a failed start, or the end of this daemon. */
function isClosedHere(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ERR_STREAM_PREMATURE_CLOSE";
}

function openLog(path: string, deps: Deps): Promise<CriLog> {
  return (deps.openLog ?? CriLog.open)(path, deps);
}

/** Removes fifos. */
export function removeFifos(paths: readonly string[]): void {
  for (const path of paths) rmSync(path, { force: true });
}
