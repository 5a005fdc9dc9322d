import { writeFile } from "node:fs/promises";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ContainerExit } from "../../../core/container/index.ts";
import { readFields } from "../process/shim-state.ts";

/**
 * Writes to `path` how a container ended, before its shim deletes the task: the record is written after that, and if
 * the daemon dies in between, the next one reads the note. Never rejects, as this daemon does not need the note.
 */
export async function writeExitNote(path: string, exit: ContainerExit, log: Logger): Promise<void> {
  // The next daemon may find out more about an unknown exit.
  if (exit.unknown) return;
  const { exitCode, finishedAtNs, oomKilled } = exit;
  const note = { exitCode, finishedAtNs: String(finishedAtNs), oomKilled };
  try {
    await writeFile(path, JSON.stringify(note), { mode: 0o600 });
  } catch (error) {
    log.warn(`failed to write exit note "${path}": ${messageOf(error)}`, { error });
  }
}

/** The note of an earlier daemon; undefined without one, or for an incomplete one. Never rejects. */
export async function readExitNote(path: string, log: Logger): Promise<ContainerExit | undefined> {
  try {
    const { exitCode, finishedAtNs, oomKilled } = (await readFields(path)) ?? {};
    if (typeof exitCode !== "number" || typeof finishedAtNs !== "string") return undefined;
    if (!/^\d+$/.test(finishedAtNs)) return undefined;
    const finished = BigInt(finishedAtNs);
    return { exitCode, finishedAtNs: finished, oomKilled: oomKilled === true, unknown: false };
  } catch (error) {
    log.warn(`failed to read exit note "${path}": ${messageOf(error)}`, { error });
    return undefined;
  }
}
