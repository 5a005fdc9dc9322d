import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";

import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { Clock } from "../../base/time.ts";
import { within } from "../../base/wait.ts";
import { SIGCONT, SIGKILL } from "../../linux/process/index.ts";

/** A process whose end can be awaited: our child, or one that is open by a pidfd. */
export interface WatchedProcess {
  readonly pid: number;
  readonly exited: Promise<unknown>;
  kill(signal: number): void;
}

/** How a container's process ended, as its monitor recorded it. */
export interface RecordedExit {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly unknown: boolean;
}

/** How long a monitor may take to record an exit. Milliseconds. */
interface MonitorTimeouts {
  /** After this it gets SIGCONT, as it may have been stopped: only the monitor knows the exit code. */
  readonly continueMs: number;
  /** After this, again, it is killed. A full disk or a log that hangs can block it. */
  readonly killMs: number;
}

const defaultTimeouts: MonitorTimeouts = { continueMs: 500, killMs: 10_000 };
/** How long the kernel may take to end a killed monitor. */
const killedMs = 2_000;
/** The exit code of a container whose exit code is not known. */
export const unknownExitCode = 255;

/**
 * Waits until a container's process has ended and its exit is recorded. The monitor reaps the process, writes
 * the exit file and ends. So the file exists at its end or never: the directory need not be watched.
 */
export async function awaitExit(options: {
  /** Undefined: has ended before. */
  readonly process: WatchedProcess | undefined;
  readonly monitor: WatchedProcess | undefined;
  readonly exitFile: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly timeouts?: MonitorTimeouts;
}): Promise<RecordedExit> {
  const { process, monitor, exitFile, clock, log, timeouts = defaultTimeouts } = options;
  await process?.exited;
  if (monitor !== undefined && !(await hasRecorded(monitor, timeouts))) {
    log.warn(
      `monitor ${monitor.pid} has not recorded the exit after ${timeouts.killMs} ms, killing it`,
    );
    monitor.kill(SIGKILL);
    await within(monitor.exited, killedMs);
  }
  return (
    readExitFile(exitFile) ?? {
      exitCode: unknownExitCode,
      finishedAtNs: clock.nowNs(),
      unknown: true,
    }
  );
}

async function hasRecorded(monitor: WatchedProcess, timeouts: MonitorTimeouts): Promise<boolean> {
  if (await within(monitor.exited, timeouts.continueMs)) return true;
  monitor.kill(SIGCONT);
  return within(monitor.exited, timeouts.killMs);
}

/**
 * Reads an exit file; the file's time is the time of the exit. Undefined if the file does not exist.
 * The file is usually on a tmpfs (mountExitTmpfs()), so that reading it takes less time than a turn of the thread
 * pool.
 */
export function readExitFile(path: string): RecordedExit | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw cause;
  }
  try {
    const { mtimeNs } = fstatSync(fd, { bigint: true });
    const exitCode = Number.parseInt(readFileSync(fd, "latin1"), 10);
    // conmon writes -1 for a process whose status it does not know.
    if (exitCode >= 0) return { exitCode, finishedAtNs: mtimeNs, unknown: false };
    return { exitCode: unknownExitCode, finishedAtNs: mtimeNs, unknown: true };
  } finally {
    closeSync(fd);
  }
}
