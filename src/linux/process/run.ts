import type { Readable } from "node:stream";

import { RuntimeError } from "../../base/errors.ts";
import { type Child, type ChildExit, type SpawnOptions, spawnChildInPool } from "./child.ts";
import { describeWait, processWait } from "./process-wait.ts";

/** A program to run to its end. */
export interface RunOptions extends Omit<SpawnOptions, "stdin" | "stdout" | "stderr"> {
  /** Written to its stdin, which is then closed; without it stdin is /dev/null. */
  readonly input?: Buffer | string;
  /** After this the program is killed, and `run` rejects with kind `deadline-exceeded`. */
  readonly timeoutMs: number;
  /** Aborting kills the program; `run` rejects with kind `canceled`. */
  readonly signal?: AbortSignal;
  /** How much is kept of stdout and of stderr, each; the rest is read and dropped. 1 MiB if not given. */
  readonly maxOutputBytes?: number;
  /** Run it in a session of its own and kill the whole process group where it is killed. */
  readonly killGroup?: boolean;
}

/** What a program that ran to its end left. */
export interface RunResult extends ChildExit {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

const SIGKILL = 9;
/** How long output is awaited after the exit: a grandchild may hold the pipes open forever. */
const DRAIN_MS = 250;
/** How long a killed program may take to end. Only one that hangs in the kernel takes as long. */
const KILL_MS = 2_000;

/**
 * Runs a program and gives its exit and output, whatever the exit code is. Rejects with SystemError
 * when it cannot be started, and by the options' timeout and signal; the program is gone and reaped
 * when `run` settles, but for one that hangs in the kernel and cannot be killed: nobody waits for
 * that, and the error says where it hangs.
 */
export async function run(options: RunOptions): Promise<RunResult> {
  if (aborted(options)) throw canceled(options);
  const child = await start(options);
  const stdout = new Collector(child.stdout, options.maxOutputBytes);
  const stderr = new Collector(child.stderr, options.maxOutputBytes);
  if (options.input !== undefined) child.stdin?.end(options.input);

  let failure: RuntimeError | undefined;
  let patience: NodeJS.Timeout | undefined;
  const unkillable = Promise.withResolvers<undefined>();
  const stop = (error: RuntimeError): void => {
    failure ??= error;
    if (options.killGroup === true) child.killGroup(SIGKILL);
    else child.kill(SIGKILL);
    patience ??= setTimeout(() => unkillable.resolve(undefined), KILL_MS);
  };
  const onAbort = (): void => stop(canceled(options));
  const timer = setTimeout(() => stop(timedOut(options)), options.timeoutMs);
  options.signal?.addEventListener("abort", onAbort, { once: true });
  // It may have been aborted while the pool started the child.
  if (aborted(options)) onAbort();
  const release = (): void => {
    clearTimeout(timer);
    clearTimeout(patience);
    options.signal?.removeEventListener("abort", onAbort);
  };
  try {
    const exit = await Promise.race([child.exited, unkillable.promise]);
    release();
    if (exit === undefined) throw await hanging(failure ?? timedOut(options), child);
    if (failure !== undefined) throw failure;
    await drained([stdout, stderr]);
    return { ...exit, stdout: stdout.take(), stderr: stderr.take() };
  } finally {
    release();
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
  // Not on the event loop: on a busy machine a child waits for a CPU before it gets to its execve.
  return spawnChildInPool(spawn);
}

/** Lets go of a child that SIGKILL does not end; it is reaped whenever it ends. */
async function hanging(failure: RuntimeError, child: Child): Promise<RuntimeError> {
  child.unref();
  const wait = await processWait(child.pid);
  const where = wait === undefined ? "" : `: ${describeWait(wait)}`;
  return new RuntimeError(failure.kind, `${failure.message}; it does not end${where}`, {
    cause: failure,
  });
}

async function drained(outputs: readonly Collector[]): Promise<void> {
  const patience = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => patience.resolve(undefined), DRAIN_MS);
  await Promise.race([Promise.all(outputs.map((output) => output.ended)), patience.promise]);
  clearTimeout(timer);
}

/** Reads a stream to its end and keeps its first bytes, so that the writer never blocks. */
class Collector {
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  #room: number;

  constructor(stream: Readable | undefined, limit = 1024 * 1024) {
    this.#room = limit;
    const end = Promise.withResolvers<undefined>();
    this.ended = end.promise;
    stream?.on("close", () => end.resolve(undefined));
    stream?.on("data", (chunk: Buffer) => this.#keep(chunk));
  }

  #keep(chunk: Buffer): void {
    if (this.#room <= 0) return;
    const kept = chunk.length > this.#room ? chunk.subarray(0, this.#room) : chunk;
    this.#room -= kept.length;
    this.#chunks.push(kept);
  }

  take(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

function aborted(options: RunOptions): boolean {
  return options.signal?.aborted === true;
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
