import { constants } from "node:fs";
import { open } from "node:fs/promises";

import { systemError } from "../../linux/index.ts";

/**
 * Writes a message to conmon's control fifo: a line of three numbers (conmon, ctrl.c).
 *
 * O_NONBLOCK: with no conmon at the other end, opening fails (ENXIO, fifo(7)) and does not wait.
 */
export async function tellMonitor(control: string, message: string): Promise<void> {
  try {
    const fifo = await open(control, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      await fifo.writeFile(message);
    } finally {
      await fifo.close();
    }
  } catch (cause) {
    throw systemError(`tell conmon by "${control}"`, cause);
  }
}
