import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

import { makeNode } from "../file/entries.ts";
import { systemError } from "../../base/system-error.ts";

const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;
const fifoMode = 0o010000 | 0o600;

/** Makes a fifo that only its owner can open. `already-exists` when something is there. */
export function makeFifo(path: string): void {
  makeNode(path, fifoMode);
}

/** Our end of a fifo that another process writes to. */
export interface FifoReader {
  readonly stream: Readable;
  /** From now on the stream ends when no other process has the fifo open for writing. Idempotent. */
  letEnd(): void;
  /** Closes the fifo, whatever is in it. Idempotent. */
  close(): void;
}

/**
 * Opens a fifo for reading. It does not end while nobody writes, since it is held open for writing
 * here, too: fifo(7). No open of a fifo waits for its other side here, which would hold a thread.
 */
export function openFifoReader(path: string): FifoReader {
  const [reader, keeper] = openTwice(path, O_RDONLY, O_WRONLY);
  return held(new Socket({ fd: reader, readable: true, writable: false }), keeper);
}

/** Our end of a fifo that another process reads. */
export interface FifoWriter {
  readonly stream: Writable;
  /**
   * From now on the reader sees the end of its input when the stream has ended and no other process
   * has the fifo open for writing. Until then what was written is kept. Idempotent.
   */
  letEnd(): void;
  /** Closes the fifo, whatever is in it. Idempotent. */
  close(): void;
}

/**
 * Opens a fifo for writing, whether anybody reads it or not. What is written waits in the fifo, which
 * is held open, since it would be lost with the last one who has it open: fifo(7).
 */
export function openFifoWriter(path: string): FifoWriter {
  const [keeper, writer] = openTwice(path, O_RDWR, O_WRONLY);
  return held(new Socket({ fd: writer, readable: false }), keeper);
}

/** A stream on a fifo, and the descriptor that keeps the fifo from ending until it is let end. */
function held(socket: Socket, keeper: number): FifoReader & FifoWriter {
  let kept: number | undefined = keeper;
  socket.on("error", () => undefined);
  const letEnd = (): void => {
    if (kept !== undefined) closeSync(kept);
    kept = undefined;
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

/** Both descriptors or none. */
function openTwice(path: string, first: number, second: number): readonly [number, number] {
  const one = open(path, first | O_NONBLOCK);
  try {
    return [one, open(path, second | O_NONBLOCK)];
  } catch (error) {
    closeSync(one);
    throw error;
  }
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (cause) {
    throw systemError(`open fifo "${path}"`, cause);
  }
}
