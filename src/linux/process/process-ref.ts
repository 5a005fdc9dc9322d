import { readFileSync } from "node:fs";

import { type NativeWatch, native, nativeError } from "../native.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";

/**
 * A process that somebody else started, held by a pidfd: its pid may be given to another process
 * later, this reference never is.
 */
export interface ProcessRef extends Disposable {
  readonly pid: number;
  /** Clock ticks after boot, `/proc/PID/stat` field 22: with the pid, it names the process. */
  readonly startTime: bigint;
  /** Settles when the process ended. Never settles after close(). */
  readonly exited: Promise<void>;
  /** Gone already: no error. */
  kill(signal: number): void;
  /** Lets go of the pidfd; any number of times. */
  close(): void;
  /** The reference no longer keeps our event loop running. */
  unref(): void;
}

/**
 * A reference to the process with this pid, or `undefined` when it is gone, a zombie, or (with
 * `startTime`, from a record) when the pid belongs to another process by now.
 */
export function openProcess(pid: number, startTime?: bigint): ProcessRef | undefined {
  const exit = Promise.withResolvers<undefined>();
  let watch: NativeWatch;
  try {
    watch = native().watchProcess(pid, () => exit.resolve(undefined));
  } catch (cause) {
    const error = nativeError(cause, `watch process ${pid}`);
    if (errnoCode(error) === "ESRCH") return undefined;
    throw error;
  }
  const found = processStartTime(pid);
  // The pidfd came first. If its process still lives now, then what was read was read of it, as a
  // pid is given to nobody else before its process is reaped.
  if (found === undefined || (startTime !== undefined && found !== startTime) || !alive(watch)) {
    native().watchClose(watch);
    return undefined;
  }
  return new OpenProcess(pid, found, exit.promise, watch);
}

/** When the process started, in clock ticks after boot; `undefined` when it is gone or a zombie. */
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

function alive(watch: NativeWatch): boolean {
  return native().watchSignal(watch, 0);
}

class OpenProcess implements ProcessRef {
  readonly pid: number;
  readonly startTime: bigint;
  readonly exited: Promise<void>;
  readonly #watch: NativeWatch;

  constructor(pid: number, startTime: bigint, exited: Promise<void>, watch: NativeWatch) {
    this.pid = pid;
    this.startTime = startTime;
    this.exited = exited;
    this.#watch = watch;
  }

  kill(signal: number): void {
    try {
      native().watchSignal(this.#watch, signal);
    } catch (cause) {
      throw nativeError(cause, `send signal ${signal} to process ${this.pid}`);
    }
  }

  close(): void {
    native().watchClose(this.#watch);
  }

  unref(): void {
    native().watchUnref(this.#watch);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
