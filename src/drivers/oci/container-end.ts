import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import { errnoCode } from "../../base/system-error.ts";

/** A process whose end can be awaited: our child, or one held by a pidfd. */
export interface Watched {
  readonly pid: number;
  readonly exited: Promise<unknown>;
  kill(signal: number): void;
}

/** What conmon recorded of an end. */
export interface RecordedEnd {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly unknown: boolean;
}

const SIGKILL = 9;
const SIGCONT = 18;

/** How long conmon may take to write down what it has reaped. Milliseconds. */
interface MonitorPatience {
  /** Then it is told to go on, in case that somebody stopped it: the exit code that it knows is the true one. */
  readonly continueMs: number;
  /** After that it is killed. A full disk or a stuck log can stop it. */
  readonly killMs: number;
}

const defaultPatience: MonitorPatience = { continueMs: 500, killMs: 10_000 };
/** How long the kernel may take to end a killed conmon. */
const killPatienceMs = 2_000;
const unknownExitCode = 255;

/**
 * Waits for a container's process and for its record. conmon reaps the process, writes the exit file
 * and ends, so its end says that the file is there or never will be: no watch of the directory is needed.
 */
export async function awaitEnd(options: {
  /** Undefined: gone already. */
  readonly process: Watched | undefined;
  readonly monitor: Watched | undefined;
  readonly startedAtNs?: bigint;
  readonly exitFile: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly patience?: MonitorPatience;
}): Promise<RecordedEnd> {
  const { process, monitor, exitFile, clock, log, patience = defaultPatience } = options;
  await process?.exited;
  if (monitor !== undefined && !(await hasRecorded(monitor, patience))) {
    log.warn(
      `conmon ${monitor.pid} has not recorded the exit after ${patience.killMs} ms, killing it`,
    );
    monitor.kill(SIGKILL);
    await within(monitor.exited, killPatienceMs);
  }
  const end = readExitFile(exitFile);
  if (end === undefined) {
    return { exitCode: unknownExitCode, finishedAtNs: clock.nowNs(), unknown: true };
  }
  // The kernel stamps files by a clock that moves once a tick, up to 10 ms late.
  const { startedAtNs = 0n } = options;
  return end.finishedAtNs < startedAtNs ? { ...end, finishedAtNs: startedAtNs } : end;
}

async function hasRecorded(monitor: Watched, patience: MonitorPatience): Promise<boolean> {
  if (await within(monitor.exited, patience.continueMs)) return true;
  monitor.kill(SIGCONT);
  return within(monitor.exited, patience.killMs);
}

/**
 * What an exit file says, with the file's time as the time of the end; undefined when there is none.
 * It lies in memory, on a tmpfs as a rule (keepRoomForExits()): a turn of the pool would take longer than
 * reading it.
 */
export function readExitFile(path: string): RecordedEnd | undefined {
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
    // conmon writes -1 for a process whose status it never learnt.
    if (exitCode >= 0) return { exitCode, finishedAtNs: mtimeNs, unknown: false };
    return { exitCode: unknownExitCode, finishedAtNs: mtimeNs, unknown: true };
  } finally {
    closeSync(fd);
  }
}

/** True when the promise settled in time. */
export async function within(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  const timer = new AbortController();
  const late = delay(timeoutMs, false, { signal: timer.signal }).catch(() => false);
  const done = await Promise.race([promise.then(() => true), late]);
  timer.abort();
  return done;
}
