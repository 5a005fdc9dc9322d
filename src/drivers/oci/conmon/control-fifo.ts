import { constants } from "node:fs";
import { open } from "node:fs/promises";

import { KeyedLock } from "../../../base/keyed-lock.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const locks = new KeyedLock();

/**
 * The right to send conmon a message, until it is disposed of; the caller keeps it until conmon has read the message.
 *
 * NOTE(conmon): of several messages that it reads at once it handles the first one several times (2.1.12,
 * read_from_ctrl_buffer()). A resize at the same time as a reopen would be lost, or the log reopened twice.
 */
export function lockControlFifo(control: string): Promise<Disposable> {
  return locks.acquire(control);
}

/**
 * Writes a message to conmon's control fifo: a line of three numbers (conmon, ctrl.c).
 *
 * O_NONBLOCK: without a conmon at the other end, opening fails (ENXIO, fifo(7)) and does not block.
 */
export async function sendToMonitor(control: string, message: string): Promise<void> {
  try {
    const fifo = await open(control, O_WRONLY | O_NONBLOCK);
    try {
      await fifo.writeFile(message);
    } finally {
      await fifo.close();
    }
  } catch (cause) {
    throw systemError(`send message to conmon by "${control}"`, cause);
  }
}

/**
 * Removes what conmon has not read yet from the fifo. False when the fifo was empty: conmon has read all messages.
 * conmon reads without blocking, and an empty fifo does not disturb it.
 */
export async function discardUnread(control: string): Promise<boolean> {
  try {
    await using fifo = await open(control, O_RDONLY | O_NONBLOCK);
    const { bytesRead } = await fifo.read(Buffer.alloc(4096));
    return bytesRead > 0;
  } catch (cause) {
    if (errnoCode(cause) === "EAGAIN") return false;
    throw systemError(`discard messages to conmon in "${control}"`, cause);
  }
}
