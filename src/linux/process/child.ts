import { statSync } from "node:fs";
import { Socket } from "node:net";

import { RuntimeError } from "../../base/errors.ts";
import {
  type NativeChild,
  type NativeSpawn,
  native,
  nativeError,
  spawnFlags,
  spawnStdio,
} from "../native.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";

/** Where a child's stdin, stdout or stderr goes: nowhere, to us, or to a descriptor of ours. */
export type ChildStdio = "null" | "pipe" | number;

/** What to start, and all that it may have of us. Nothing else is inherited. */
export interface SpawnOptions {
  /** An absolute path, or a name that is looked up on `env.PATH`. */
  readonly file: string;
  /** What the process calls itself, argv[0]; `file` when left out. */
  readonly name?: string;
  /** Without the program's own name, which becomes argv[0]. */
  readonly args?: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** "null" when not given, for all three. A descriptor stays open on our side. */
  readonly stdin?: ChildStdio;
  readonly stdout?: ChildStdio;
  readonly stderr?: ChildStdio;
  /** These become 3, 4, 5... in the child: descriptors of ours, or once more what its stdout is. */
  readonly extraFds?: readonly (number | "stdout")[];
  /** The child leads a session (and so a process group) of its own. */
  readonly newSession?: boolean;
  /** The child is PID 1 of a new PID namespace. */
  readonly newPidNamespace?: boolean;
  /** Paths of net, ipc or uts namespace files that the child enters before it runs the program. */
  readonly joinNamespaces?: readonly string[];
  /** cgroup.procs files: the child enters these cgroups before it runs the program. */
  readonly cgroupProcsPaths?: readonly string[];
}

/** How a process ended: exactly one is set, or none when the exit was taken by someone else. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: number | null;
}

/** A process that we started. It is always reaped. */
export interface Child {
  readonly pid: number;
  /** Our ends of the pipes that were asked for. EPIPE on `stdin` is swallowed: see `exited`. */
  readonly stdin: Socket | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  /** Settles when the process ended and is reaped; never rejects. Output may still be in the pipes. */
  readonly exited: Promise<ChildExit>;
  /** Sends a signal to the process itself, never to a later one with its pid. Gone: no error. */
  kill(signal: number): void;
  /**
   * Sends a signal to its process group; needs `newSession`. Nothing after `exited`: the group may
   * be empty by then, and its id belong to another one.
   */
  killGroup(signal: number): void;
  /** The child no longer keeps our event loop running. */
  unref(): void;
}

/**
 * Starts a process and returns when it runs: the wait is the child's way to execve, 0.1 to 0.3 ms
 * at any size of ours, and on a busy machine the child's wait for a CPU, up to 8 ms: what has an event
 * loop to answer with uses {@link spawnChildInPool}. Exactly the descriptors named in `options` are open
 * in it, its signal handlers and mask are the default ones.
 *
 * Throws SystemError that names the file when it cannot be executed, or the namespace or cgroup
 * that could not be entered.
 */
export function spawnChild(options: SpawnOptions): Child {
  const exit = Promise.withResolvers<ChildExit>();
  const plan = planOf(options, exit.resolve);
  let started: NativeChild;
  try {
    started = native().spawn(...plan);
  } catch (cause) {
    throw nativeError(cause, `start "${options.file}"`);
  }
  return new RunningChild(started, exit.promise, options.newSession === true);
}

/**
 * The same as spawnChild, but waits on a thread of the pool. Always to be used with `cgroupProcsPaths`:
 * entering a cgroup v1 hierarchy can wait 10 ms or more for the kernel, and a frozen cgroup stops
 * the child, and with it the thread that waits, until it is thawed.
 */
export async function spawnChildInPool(options: SpawnOptions): Promise<Child> {
  const exit = Promise.withResolvers<ChildExit>();
  const plan = planOf(options, exit.resolve);
  let started: NativeChild;
  try {
    started = await native().spawnInPool(...plan);
  } catch (cause) {
    throw nativeError(cause, `start "${options.file}"`);
  }
  return new RunningChild(started, exit.promise, options.newSession === true);
}

/**
 * The path of the program `name` on a colon-separated search path, as execvp(3) finds it; a name
 * with a slash is returned as it is. Directories that are not absolute are skipped: which file runs
 * must not depend on our working directory, and those that may not be searched hide nothing behind
 * them. `undefined` when there is none.
 */
export function findProgram(name: string, searchPath: string): string | undefined {
  if (name.includes("/")) return name;
  for (const dir of searchPath.split(":")) {
    if (!dir.startsWith("/") || name === "") continue;
    const path = `${dir}/${name}`;
    if (isProgram(path)) return path;
  }
  return undefined;
}

function isProgram(path: string): boolean {
  try {
    const info = statSync(path, { throwIfNoEntry: false });
    return info?.isFile() === true && (info.mode & 0o111) !== 0;
  } catch (cause) {
    if (errnoCode(cause) === "EACCES") return false;
    throw cause;
  }
}

function planOf(options: SpawnOptions, onExit: (exit: ChildExit) => void): NativeSpawn {
  const searchPath = options.env["PATH"] ?? "";
  const file = findProgram(options.file, searchPath);
  if (file === undefined) {
    throw new RuntimeError(
      "not-found",
      `start "${options.file}": no such program on PATH "${searchPath}"`,
    );
  }
  const flags =
    (options.newSession === true ? spawnFlags.newSession : 0) |
    (options.newPidNamespace === true ? spawnFlags.newPidNamespace : 0);
  const numbers = [
    stdioNumber(options.stdin),
    stdioNumber(options.stdout),
    stdioNumber(options.stderr),
    flags,
    ...(options.extraFds ?? []).map((fd) =>
      fd === "stdout" ? spawnStdio.asStdout : checkedFd(fd),
    ),
  ];
  return [
    file,
    [options.name ?? options.file, ...(options.args ?? [])],
    Object.entries(options.env).map(([name, value]) => `${name}=${value}`),
    options.cwd ?? null,
    numbers,
    options.joinNamespaces ?? [],
    options.cgroupProcsPaths ?? [],
    (code, signal) => onExit({ code: code < 0 ? null : code, signal: signal < 0 ? null : signal }),
  ];
}

function stdioNumber(stdio: ChildStdio = "null"): number {
  if (stdio === "null") return spawnStdio.null;
  if (stdio === "pipe") return spawnStdio.pipe;
  return checkedFd(stdio);
}

/** A negative number would mean something else to the addon. */
function checkedFd(fd: number): number {
  if (Number.isInteger(fd) && fd >= 0) return fd;
  throw new RuntimeError(
    "invalid-argument",
    `pass descriptor to a child: want a number, got ${fd}`,
  );
}

class RunningChild implements Child {
  readonly pid: number;
  readonly stdin: Socket | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  readonly exited: Promise<ChildExit>;
  readonly #started: NativeChild;
  readonly #leadsGroup: boolean;
  #reaped = false;

  constructor(started: NativeChild, exited: Promise<ChildExit>, leadsGroup: boolean) {
    this.#started = started;
    this.#leadsGroup = leadsGroup;
    this.pid = started.pid;
    // The exit callback and this run in one turn with waitid, so nothing can come between them.
    this.exited = exited.then((exit) => {
      this.#reaped = true;
      return exit;
    });
    this.stdin = pipeSocket(started.stdin, "write");
    this.stdout = pipeSocket(started.stdout, "read");
    this.stderr = pipeSocket(started.stderr, "read");
  }

  kill(signal: number): void {
    try {
      native().watchSignal(this.#started.watch, signal);
    } catch (cause) {
      throw nativeError(cause, `send signal ${signal} to process ${this.pid}`);
    }
  }

  killGroup(signal: number): void {
    if (!this.#leadsGroup) {
      throw new RuntimeError(
        "invalid-argument",
        `send signal ${signal} to group of process ${this.pid}: it was not started with newSession`,
      );
    }
    if (this.#reaped) return;
    try {
      process.kill(-this.pid, signal);
    } catch (cause) {
      if (errnoCode(cause) === "ESRCH") return;
      throw systemError(`send signal ${signal} to group of process ${this.pid}`, cause);
    }
  }

  unref(): void {
    native().watchUnref(this.#started.watch);
    this.stdin?.unref();
    this.stdout?.unref();
    this.stderr?.unref();
  }
}

/**
 * Our end of a pipe as a stream. The error listener is there from the start: a child that dies with
 * unread input makes the next write fail with EPIPE, and an 'error' event without a listener would
 * end the daemon. The end of the child is told by `exited`, so the error itself is of no use.
 */
function pipeSocket(fd: number, direction: "read" | "write"): Socket | undefined {
  if (fd < 0) return undefined;
  const socket = new Socket({
    fd,
    readable: direction === "read",
    writable: direction === "write",
  });
  socket.on("error", () => undefined);
  return socket;
}
