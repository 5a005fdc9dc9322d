import type { Readable } from "node:stream";

import { RuntimeError } from "../../base/errors.ts";
import { beforeAbort, within } from "../../base/wait.ts";
import { type Child, spawnChildInPool } from "./child.ts";
import type { ChildExit, SpawnOptions } from "./native.ts";
import { describeWait, processWait } from "./process-wait.ts";
import { SIGKILL } from "./signals.ts";

/** A program to run to its end. */
export interface RunOptions extends Omit<SpawnOptions, "stdin" | "stdout" | "stderr"> {
  /** Written to its stdin, which is then closed; without it stdin is /dev/null. */
  readonly input?: Buffer | string;
  /** After this time the program is killed, and `run` rejects with kind `deadline-exceeded`. */
  readonly timeoutMs: number;
  /** Aborting kills the program; `run` rejects with kind `canceled`. */
  readonly signal?: AbortSignal;
  /** How much of stdout and of stderr is kept, each; the rest is read and dropped. 1 MiB if not given. */
  readonly maxOutputBytes?: number;
  /** Run it in a session of its own, and kill the whole process group when it is killed. */
  readonly killGroup?: boolean;
}

/** The exit and the output of a program that ran to its end. */
export interface RunResult extends ChildExit {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** How long output is awaited after the exit: a grandchild may keep the pipes open forever. */
const drainMs = 250;
/** How long a killed program may take to end. Only one that hangs in the kernel takes longer. */
const killMs = 2_000;

/**
 * Runs a program and returns its exit and output, whatever the exit code is. Rejects with SystemError
 * when it cannot be started, and as the options' timeout and signal say. When `run` settles, the program has ended and
 * is reaped, unless it hangs in the kernel and cannot be killed: `run` does not wait for such a program, and
 * the error says where it hangs.
 */
export async function run(options: RunOptions): Promise<RunResult> {
  if (options.signal?.aborted === true) throw canceled(options);
  const child = await start(options);
  const stdout = new Collector(child.stdout, options.maxOutputBytes);
  const stderr = new Collector(child.stderr, options.maxOutputBytes);
  if (options.input !== undefined) child.stdin?.end(options.input);
  try {
    const exit = await exitOf(child, options);
    await within(Promise.all([stdout.ended, stderr.ended]), drainMs);
    return { ...exit, stdout: stdout.bytes(), stderr: stderr.bytes() };
  } finally {
    child.stdin?.destroy();
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
}

function start(options: RunOptions): Promise<Child> {
  const spawn: SpawnOptions = {
    ...options,
    stdin: options.input === undefined ? "null" : "pipe",
    stdout: "pipe",
    stderr: "pipe",
    newSession: options.newSession === true || options.killGroup === true,
  };
  // Not on the event loop: on a busy machine a child waits for a CPU before it reaches its execve.
  return spawnChildInPool(spawn);
}

/** Waits for the exit. Kills the program at the timeout or when the signal is aborted, and then rejects. */
async function exitOf(child: Child, options: RunOptions): Promise<ChildExit> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(timedOut(options)), options.timeoutMs);
  const onAbort = (): void => stop.abort(canceled(options));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  // It may have been aborted while the pool started the child.
  if (options.signal?.aborted === true) onAbort();
  try {
    return await beforeAbort(child.exited, stop.signal);
  } catch (error) {
    const failure = error as RuntimeError;
    if (options.killGroup === true) child.killGroup(SIGKILL);
    else child.kill(SIGKILL);
    if (await within(child.exited, killMs)) throw failure;
    throw await hanging(failure, child);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
}

/** Stops waiting for a child that SIGKILL does not end. It is reaped when it ends. */
async function hanging(failure: RuntimeError, child: Child): Promise<RuntimeError> {
  child.unref();
  const wait = await processWait(child.pid);
  const where = wait === undefined ? "" : `: ${describeWait(wait)}`;
  return new RuntimeError(failure.kind, `${failure.message}; it does not end${where}`, {
    cause: failure,
  });
}

/** Reads a stream to its end and keeps its first bytes, so that the writer never blocks. */
class Collector {
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  #freeBytes: number;

  constructor(stream: Readable | undefined, limit = 1024 * 1024) {
    this.#freeBytes = limit;
    const end = Promise.withResolvers<undefined>();
    this.ended = end.promise;
    stream?.on("close", () => end.resolve(undefined));
    stream?.on("data", (chunk: Buffer) => this.#add(chunk));
  }

  #add(chunk: Buffer): void {
    if (this.#freeBytes <= 0) return;
    const kept = chunk.length > this.#freeBytes ? chunk.subarray(0, this.#freeBytes) : chunk;
    this.#freeBytes -= kept.length;
    this.#chunks.push(kept);
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

function timedOut(options: RunOptions): RuntimeError {
  return new RuntimeError(
    "deadline-exceeded",
    `run "${options.file}": did not end within ${options.timeoutMs / 1000} s and was killed`,
  );
}

function canceled(options: RunOptions): RuntimeError {
  return new RuntimeError("canceled", `run "${options.file}": canceled`);
}
