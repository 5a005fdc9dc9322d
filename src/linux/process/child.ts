import { statSync } from "node:fs";
import { Socket } from "node:net";

import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import {
  type ChildExit,
  type SpawnOptions,
  type StartedChild,
  signalProcess,
  spawn,
  spawnInPool,
  unrefWatch,
} from "./native.ts";

/** A process that this process started. It is always reaped. */
export interface Child {
  readonly pid: number;
  /** This process's ends of the pipes. EPIPE on `stdin` is ignored: see `exited`. */
  readonly stdin: Socket | undefined;
  /** The descriptor of `stdin`, which closes it. */
  readonly stdinFd: number | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  /** Resolves when the process has ended and is reaped; never rejects. Output may still be in the pipes. */
  readonly exited: Promise<ChildExit>;
  /** Sends a signal to the process itself, never to a later one with its pid. No error when it has ended. */
  kill(signal: number): void;
  /**
   * Sends a signal to its process group; needs `newSession`. Does nothing after `exited`: the group may
   * be empty by then, and its id may belong to another group.
   */
  killGroup(signal: number): void;
  /** The child no longer keeps the event loop running. */
  unref(): void;
}

/**
 * Starts a process and returns when it runs. This blocks until the child's execve, 0.1 to 0.3 ms
 * whatever the size of this process, and on a busy machine until the child gets a CPU, up to 8 ms: a process that
 * serves requests uses {@link spawnChildInPool}. Exactly the descriptors named in `options` are open
 * in the child, and its signal handlers and mask are the default ones.
 *
 * Throws SystemError that names the file that cannot be executed, or the namespace or cgroup
 * that could not be entered.
 */
export function spawnChild(options: SpawnOptions): Child {
  const exit = Promise.withResolvers<ChildExit>();
  const started = spawn(programOf(options), options, exit.resolve);
  return new RunningChild(started, exit.promise, options.newSession === true);
}

/**
 * Like spawnChild, but waits on a thread of the pool. Always use it with `cgroupProcsPaths`:
 * entering a cgroup v1 hierarchy can wait 10 ms or more for the kernel, and a frozen cgroup stops
 * the child, and with it the waiting thread, until the cgroup is thawed.
 */
export async function spawnChildInPool(options: SpawnOptions): Promise<Child> {
  const exit = Promise.withResolvers<ChildExit>();
  const started = await spawnInPool(programOf(options), options, exit.resolve);
  return new RunningChild(started, exit.promise, options.newSession === true);
}

/**
 * The path of the program `name` on a colon-separated search path, as execvp(3) finds it; a name
 * with a slash is returned unchanged. Directories that are not absolute are skipped: which file runs
 * must not depend on the working directory. Directories that may not be searched are skipped, too.
 * `undefined` when there is no such program.
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

function programOf({ file, env }: SpawnOptions): string {
  const searchPath = env["PATH"] ?? "";
  const program = findProgram(file, searchPath);
  if (program !== undefined) return program;
  throw new RuntimeError(
    "not-found",
    `start "${file}": no such program on PATH "${searchPath}"; install it, or name it by its path`,
  );
}

class RunningChild implements Child {
  readonly pid: number;
  readonly stdin: Socket | undefined;
  readonly stdinFd: number | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  readonly exited: Promise<ChildExit>;
  readonly #started: StartedChild;
  readonly #leadsGroup: boolean;
  #reaped = false;

  constructor(started: StartedChild, exited: Promise<ChildExit>, leadsGroup: boolean) {
    this.#started = started;
    this.#leadsGroup = leadsGroup;
    this.pid = started.pid;
    // The exit callback and this run in the same turn as waitid, so nothing can run in between.
    this.exited = exited.then((exit) => {
      this.#reaped = true;
      return exit;
    });
    this.stdin = pipeSocket(started.stdin, "write");
    this.stdinFd = started.stdin < 0 ? undefined : started.stdin;
    this.stdout = pipeSocket(started.stdout, "read");
    this.stderr = pipeSocket(started.stderr, "read");
  }

  kill(signal: number): void {
    signalProcess(this.#started, signal);
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
    unrefWatch(this.#started);
    this.stdin?.unref();
    this.stdout?.unref();
    this.stderr?.unref();
  }
}

/**
 * This process's end of a pipe as a stream. It has an error listener from the start: a child that ends with
 * unread input makes the next write fail with EPIPE, and an 'error' event without a listener would
 * end the daemon. `exited` reports the end of the child, so the error itself is not needed.
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
