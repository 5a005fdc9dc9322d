import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { findByDirectory, openProcess, run, SIGKILL } from "../../../linux/process/index.ts";
import { removeYards } from "./restore-mounts.ts";
import { runtimeEnv } from "../runtime-command.ts";

/** How long CRIU may take to give up. */
const giveUpMs = 2_000;
/** How long a killed CRIU may take to end. */
const killedMs = 1_000;
const limitMs = 1_000;
const pollMs = 10;

/**
 * Ends the CRIU that works in the directory `work`, and resolves when it has ended; the processes that it has stopped
 * run on.
 *
 * It is not killed at first: while it makes a process run its own code, for some milliseconds, the process would not
 * survive that. Without free descriptors it fails at the next file that it opens, and undoes everything. One that opens
 * no file for two seconds is copying memory. It can be killed then: the code in the process sees the end of its
 * connection, and restores the process.
 */
export async function endCriu(work: string, log: Logger): Promise<void> {
  const found = await findCriu(work);
  await Promise.all(found.map((pid) => withoutDescriptors(pid, log)));
  if (!(await haveEnded(work, giveUpMs))) await kill(work, log);
  await removeYards(work);
}

/**
 * The processes that work in the directory, without the monitor of the container that is being restored: it lives as long as
 * the container, and poll(2) fails in a process without descriptors.
 */
async function findCriu(work: string): Promise<readonly number[]> {
  const found = await findByDirectory(work);
  const names = await Promise.all(found.map(nameOf));
  return found.filter((_, at) => names[at] !== "davit-monitor");
}

/** Empty for a process that has ended. */
async function nameOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, "latin1").catch(() => "")).trimEnd();
}

async function kill(work: string, log: Logger): Promise<void> {
  for (const pid of await findCriu(work)) {
    using process = openProcess(pid);
    process?.kill(SIGKILL);
  }
  if (!(await haveEnded(work, killedMs))) {
    log.warn(`CRIU in "${work}" still runs ${killedMs} ms after SIGKILL`);
  }
}

async function withoutDescriptors(pid: number, log: Logger): Promise<void> {
  try {
    await run({
      file: "prlimit",
      args: [`--pid=${pid}`, "--nofile=1:1"],
      env: runtimeEnv,
      timeoutMs: limitMs,
    });
  } catch (error) {
    log.warn(`failed to limit the descriptors of CRIU ${pid}: ${messageOf(error)}`);
  }
}

async function haveEnded(work: string, timeoutMs: number): Promise<boolean> {
  for (const end = performance.now() + timeoutMs; performance.now() < end; ) {
    if ((await findCriu(work)).length === 0) return true;
    await delay(pollMs);
  }
  return false;
}
