import { readFileSync } from "node:fs";

import { errnoCode, systemError } from "../../base/system-error.ts";
import { closeWatch } from "../addon.ts";
import { signalProcess, unrefWatch, type WatchedProcess, watchProcess } from "./native.ts";

/**
 * A reference by pidfd to a process that another process started. The pid can be reused by another process
 * later, the reference never refers to that one.
 */
export interface ProcessRef extends Disposable {
  readonly pid: number;
  /** Clock ticks after boot, `/proc/PID/stat` field 22: with the pid, it names the process. */
  readonly startTime: bigint;
  /** Resolves when the process ends. Never settles after close(). */
  readonly exited: Promise<void>;
  /** No error when the process has ended. */
  kill(signal: number): void;
  /** Closes the pidfd. Idempotent. */
  close(): void;
  /** The reference no longer keeps the event loop running. */
  unref(): void;
}

/**
 * A reference to the process with this pid. `undefined` when the process has ended or is a zombie, and, with a
 * `startTime` from a record, when the pid belongs to another process by now.
 */
export function openProcess(pid: number, startTime?: bigint): ProcessRef | undefined {
  const exit = Promise.withResolvers<undefined>();
  let watched: WatchedProcess;
  try {
    watched = watchProcess(pid, () => exit.resolve(undefined));
  } catch (error) {
    if (errnoCode(error) === "ESRCH") return undefined;
    throw error;
  }
  const found = processStartTime(pid);
  // The pidfd was opened first. If its process still runs, the start time is that of this process, because a
  // pid is not reused before its process is reaped.
  if (found === undefined || (startTime !== undefined && found !== startTime) || !runs(watched)) {
    closeWatch(watched.watch);
    return undefined;
  }
  return new OpenProcess(watched, found, exit.promise);
}

/** When the process started, in clock ticks after boot; `undefined` when it has ended or is a zombie. */
export function processStartTime(pid: number): bigint | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw systemError(`read start time of process ${pid}`, cause);
  }
  return parseStartTime(stat);
}

/**
 * Field 22 of a line of /proc/PID/stat (proc_pid_stat(5)). The name in field 2 may hold spaces and
 * parentheses, so counting starts after the last `)`, with the state, field 3.
 */
export function parseStartTime(stat: string): bigint | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startTime] = [fields[0], fields[19]];
  if (state === undefined || startTime === undefined || "ZXx".includes(state)) return undefined;
  return BigInt(startTime);
}

function runs(watched: WatchedProcess): boolean {
  return signalProcess(watched, 0);
}

class OpenProcess implements ProcessRef {
  readonly pid: number;
  readonly startTime: bigint;
  readonly exited: Promise<void>;
  readonly #watched: WatchedProcess;

  constructor(watched: WatchedProcess, startTime: bigint, exited: Promise<void>) {
    this.pid = watched.pid;
    this.startTime = startTime;
    this.exited = exited;
    this.#watched = watched;
  }

  kill(signal: number): void {
    signalProcess(this.#watched, signal);
  }

  close(): void {
    closeWatch(this.#watched.watch);
  }

  unref(): void {
    unrefWatch(this.#watched);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
