import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { setTimeout } from "node:timers/promises";

import { errnoCode, systemError } from "../../base/system-error.ts";
import { makeNode } from "../file/native.ts";

const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;
const fifoMode = 0o010000 | 0o600;

/** Makes a FIFO that only its owner can open. `already-exists` when something is at the path. */
export function makeFifo(path: string): void {
  makeNode(path, fifoMode);
}

/** This process's end of a FIFO that another process writes to. */
export interface FifoReader {
  readonly stream: Readable;
  /** From now on the stream ends when no other process has the FIFO open for writing. Idempotent. */
  letEnd(): void;
  /** Closes the FIFO and discards what is in it. Idempotent. */
  close(): void;
}

/**
 * Opens a FIFO for reading. It does not end while no process writes, because this process has it open for writing,
 * too: fifo(7). The open does not wait for the other side, which would block a thread.
 */
export function openFifoReader(path: string): FifoReader {
  const [reader, keeper] = openTwice(path, O_RDONLY, O_WRONLY);
  const stream = new Socket({ fd: reader, readable: true, writable: false });
  const letEnd = keep(stream, keeper);
  return {
    stream,
    letEnd,
    close: () => {
      letEnd();
      stream.destroy();
    },
  };
}

/** This process's end of a FIFO that another process reads. */
export interface FifoWriter {
  readonly stream: Writable;
  /**
   * Gives the reader the end of its input: when the stream has ended, a process has the FIFO open for reading, and no
   * other one has it open for writing. Until then the FIFO keeps written data. Resolves when this process has closed the
   * FIFO. Never rejects. Idempotent.
   */
  letEnd(): Promise<void>;
  /** Closes the FIFO and discards what is in it. Idempotent. */
  close(): void;
}

/** The pauses between looks whether a process has opened a FIFO for reading, which the kernel does not tell. */
const firstPauseMs = 2;
const longestPauseMs = 100;

/**
 * Opens a FIFO for writing, whether a process reads it or not. Written data waits in the FIFO. This process keeps it
 * open, because the data is lost when the last descriptor is closed, and who opens it for reading afterwards waits for
 * another writer: fifo(7).
 */
export function openFifoWriter(path: string): FifoWriter {
  const [keeper, writer] = openTwice(path, O_RDWR, O_WRONLY);
  const stream = new Socket({ fd: writer, readable: false });
  const closeKeeper = keep(stream, keeper);
  const closing = new AbortController();
  const { signal } = closing;
  let ending: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    if (!stream.closed) await new Promise((resolve) => stream.once("close", resolve));
    if (!signal.aborted) await waitForReader(keeper, closeKeeper, signal);
    closeKeeper();
  };
  return {
    stream,
    letEnd: () => (ending ??= end()),
    close: () => {
      closing.abort();
      closeKeeper();
      stream.destroy();
    },
  };
}

/**
 * Resolves when another process has a FIFO open for reading. Closes the keeper, which reads the FIFO, too: without it, the
 * FIFO can be opened for writing only if another process reads it. Never rejects.
 */
async function waitForReader(
  keeper: number,
  closeKeeper: () => void,
  signal: AbortSignal,
): Promise<void> {
  let writer: number | undefined;
  try {
    writer = openFifo(`/proc/self/fd/${keeper}`, O_WRONLY | O_NONBLOCK);
    closeKeeper();
    for (let ms = firstPauseMs; !signal.aborted && !isRead(writer); ms *= 2) {
      await setTimeout(Math.min(ms, longestPauseMs), undefined, { signal });
    }
  } catch {
    // The FIFO is closed meanwhile, or there are no descriptors to see its readers with.
  } finally {
    if (writer !== undefined) closeSync(writer);
  }
}

/** Whether a process has a FIFO open for reading, of which this one has a descriptor for writing. */
function isRead(descriptor: number): boolean {
  try {
    closeSync(openSync(`/proc/self/fd/${descriptor}`, O_WRONLY | O_NONBLOCK));
    return true;
  } catch (cause) {
    // Without descriptors for the moment, it is looked at again.
    if (["ENXIO", "EMFILE", "ENFILE"].includes(errnoCode(cause) ?? "")) return false;
    throw systemError("look whether a FIFO is read", cause);
  }
}

/** Ignores errors of a stream on a FIFO. Returns what closes the descriptor that keeps the FIFO from ending; idempotent. */
function keep(stream: Socket, keeper: number): () => void {
  let open: number | undefined = keeper;
  stream.on("error", () => undefined);
  return () => {
    if (open !== undefined) closeSync(open);
    open = undefined;
  };
}

/** Opens both descriptors or none. */
function openTwice(path: string, first: number, second: number): readonly [number, number] {
  const one = openFifo(path, first | O_NONBLOCK);
  try {
    return [one, openFifo(path, second | O_NONBLOCK)];
  } catch (error) {
    closeSync(one);
    throw error;
  }
}

function openFifo(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (cause) {
    throw systemError(`open FIFO "${path}"`, cause);
  }
}
