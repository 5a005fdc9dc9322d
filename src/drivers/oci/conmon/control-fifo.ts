import { constants } from "node:fs";
import { open } from "node:fs/promises";

import { KeyedLock } from "../../../base/keyed-lock.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const turns = new KeyedLock();

/**
 * A turn to tell conmon something, until it is disposed of: that should be when conmon has read it.
 *
 * NOTE(conmon): of several messages that it reads at once it takes the first one several times (2.1.12,
 * read_from_ctrl_buffer()). A resize beside a reopening would lose the one, or reopen the log twice.
 */
export function controlTurn(control: string): Promise<Disposable> {
  return turns.acquire(control);
}

/**
 * Writes a message to conmon's control fifo: a line of three numbers (conmon, ctrl.c).
 *
 * O_NONBLOCK: with no conmon at the other end, opening fails (ENXIO, fifo(7)) and does not wait.
 */
export async function tellMonitor(control: string, message: string): Promise<void> {
  try {
    const fifo = await open(control, O_WRONLY | O_NONBLOCK);
    try {
      await fifo.writeFile(message);
    } finally {
      await fifo.close();
    }
  } catch (cause) {
    throw systemError(`tell conmon by "${control}"`, cause);
  }
}

/**
 * Takes back what conmon has not read yet. False when there was nothing: it has read all that it was told.
 * conmon reads without blocking, and takes an empty fifo for no message.
 */
export async function takeBackMessages(control: string): Promise<boolean> {
  try {
    await using fifo = await open(control, O_RDONLY | O_NONBLOCK);
    const { bytesRead } = await fifo.read(Buffer.alloc(4096));
    return bytesRead > 0;
  } catch (cause) {
    if (errnoCode(cause) === "EAGAIN") return false;
    throw systemError(`take back what conmon was told by "${control}"`, cause);
  }
}
