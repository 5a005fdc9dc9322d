import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

import { systemError } from "../../base/system-error.ts";
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
  return endOf(new Socket({ fd: reader, readable: true, writable: false }), keeper);
}

/** This process's end of a FIFO that another process reads. */
export interface FifoWriter {
  readonly stream: Writable;
  /**
   * From now on the reader gets the end of its input when the stream has ended and no other process
   * has the FIFO open for writing. Until then the FIFO keeps written data. Idempotent.
   */
  letEnd(): void;
  /** Closes the FIFO and discards what is in it. Idempotent. */
  close(): void;
}

/**
 * Opens a FIFO for writing, whether a process reads it or not. Written data waits in the FIFO. This process keeps it
 * open, because the data is lost when the last descriptor is closed: fifo(7).
 */
export function openFifoWriter(path: string): FifoWriter {
  const [keeper, writer] = openTwice(path, O_RDWR, O_WRONLY);
  return endOf(new Socket({ fd: writer, readable: false }), keeper);
}

/** A stream on a FIFO, and the descriptor that keeps the FIFO from ending until `letEnd`. */
function endOf(socket: Socket, keeper: number): FifoReader & FifoWriter {
  let open: number | undefined = keeper;
  socket.on("error", () => undefined);
  const letEnd = (): void => {
    if (open !== undefined) closeSync(open);
    open = undefined;
  };
  return {
    stream: socket,
    letEnd,
    close: () => {
      letEnd();
      socket.destroy();
    },
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
