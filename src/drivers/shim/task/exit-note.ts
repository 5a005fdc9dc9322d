import { writeFile } from "node:fs/promises";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ContainerExit } from "../../../core/container/index.ts";
import { readFields } from "../process/shim-state.ts";

/**
 * Notes in `path` how a container ended, before its shim is told to forget it: the record follows that, and a
 * daemon that dies in between leaves it to the next one. Never rejects: the daemon that lives knows it.
 */
export async function noteExit(path: string, exit: ContainerExit, log: Logger): Promise<void> {
  // What nobody knows the next daemon may know better.
  if (exit.unknown) return;
  const { exitCode, finishedAtNs, oomKilled } = exit;
  const note = { exitCode, finishedAtNs: String(finishedAtNs), oomKilled };
  try {
    await writeFile(path, JSON.stringify(note), { mode: 0o600 });
  } catch (error) {
    log.warn(`note how a container ended: ${messageOf(error)}`, { error });
  }
}

/** What an earlier daemon noted; undefined when it noted nothing, or died at it. Never rejects. */
export async function notedExit(path: string, log: Logger): Promise<ContainerExit | undefined> {
  try {
    const { exitCode, finishedAtNs, oomKilled } = (await readFields(path)) ?? {};
    if (typeof exitCode !== "number" || typeof finishedAtNs !== "string") return undefined;
    if (!/^\d+$/.test(finishedAtNs)) return undefined;
    const finished = BigInt(finishedAtNs);
    return { exitCode, finishedAtNs: finished, oomKilled: oomKilled === true, unknown: false };
  } catch (error) {
    log.warn(`read how a container ended: ${messageOf(error)}`, { error });
    return undefined;
  }
}
