import { randomBytes } from "node:crypto";
import type { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";

import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/rollback.ts";
import type { ExecResult, ProcessClient } from "../../core/container/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import {
  drain,
  type ExecEnd,
  feed,
  finish,
  Pump,
  Sizes,
  type TerminalSize,
} from "../../core/streaming/index.ts";
import { Task } from "../../gen/containerd/task/v3/task_pb.ts";
import {
  type CgroupLayout,
  cgroupProcs,
  type FifoReader,
  type FifoWriter,
  killProcessTree,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "../../linux/index.ts";
import { removeFifos } from "./container-io.ts";
import type { Places } from "./places.ts";
import type { PodShim } from "./pod-shims.ts";
import { callMs } from "./task-client.ts";
import { within } from "./within.ts";

/** What ExecSync answers of each stream at most; api.proto: "16 MB ... the rest is discarded". */
const maxOutputBytes = 16 * 1024 * 1024;
/** How long output is awaited after the command's end: what it left behind may hold it open. */
const drainMs = 250;
const killMs = 1_000;
const killTries = 2;
/** How long a command that nobody reads any more may take to end by itself, as shells do. */
const hangUpMs = 500;
const SIGHUP = 1;
const SIGKILL = 9;

/** The type of a process for a shim: containerd's name for an OCI process as JSON. */
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/** The task that a command is run in. */
export interface ExecTarget {
  readonly id: string;
  readonly cgroupPath: string;
  readonly shim: PodShim;
}

/** What commands are run with. */
export interface ExecDeps {
  readonly places: Places;
  readonly cgroups: CgroupLayout;
}

/** Which streams the command gets; what it does not get is /dev/null. */
interface Wanted {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly terminal: boolean;
}

/** Runs a command in a task; see ContainerRuntime.execSync. */
export async function execInTask(
  deps: ExecDeps,
  target: ExecTarget,
  spec: string,
  operation: Operation,
): Promise<ExecResult> {
  const wanted = { stdin: false, stdout: true, stderr: true, terminal: false };
  return withCommand(deps, { target, wanted, spec: () => spec }, operation, async (command) => {
    const stdout = new Output(command.stdout?.stream);
    const stderr = new Output(command.stderr?.stream);
    try {
      const exitCode = await command.run();
      await operation.enter("drain-output");
      command.letOutputEnd();
      await within(Promise.all([stdout.ended, stderr.ended]), drainMs);
      return { stdout: stdout.bytes(), stderr: stderr.bytes(), exitCode };
    } catch (error) {
      if (operation.signal.aborted) await command.kill();
      throw error;
    }
  });
}

/** Runs a command with a client at its streams; see ContainerRuntime.exec. */
export async function execStreamInTask(
  deps: ExecDeps,
  run: { readonly target: ExecTarget; readonly spec: string; readonly client: ProcessClient },
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client } = run;
  const { stdin, stdout, stderr } = client.streams;
  using sizes = new Sizes(client.streams.sizes);
  // One that the client has told already comes in before the command is made.
  await setImmediate();
  const wanted = {
    stdin: stdin !== undefined,
    stdout: stdout !== undefined || client.terminal,
    stderr: stderr !== undefined && !client.terminal,
    terminal: client.terminal,
  };
  const spec = (): string => (client.terminal ? withSize(run.spec, sizes.latest) : run.spec);
  return await withCommand(deps, { target, wanted, spec }, operation, async (command) => {
    const pumps = [
      new Pump(command.stdout?.stream, stdout),
      new Pump(command.stderr?.stream, stderr),
    ];
    const stop = feed(stdin, command.stdin?.stream);
    command.stdin?.stream.once("close", () => {
      command.endInput();
    });
    try {
      const exitCode = await command.run(() => {
        if (client.terminal) sizes.follow((size) => command.resize(size));
      });
      await operation.enter("drain-output");
      command.letOutputEnd();
      await drain(pumps, drainMs, operation.signal);
      await finish([stdout, stderr], operation.signal);
      return { exitCode };
    } catch (error) {
      if (operation.signal.aborted) await command.hangUp();
      throw error;
    } finally {
      stop();
      for (const pump of pumps) pump.stop();
    }
  });
}

/** `spec`, the text of a process, with the size of its terminal (runtime-spec, config.md, process). */
function withSize(spec: string, size: TerminalSize | undefined): string {
  if (size === undefined) return spec;
  const process = JSON.parse(spec) as object;
  return JSON.stringify({ ...process, consoleSize: { height: size.height, width: size.width } });
}

/** Makes a command's fifos and adds it to the task; both are gone when `use` has settled. */
async function withCommand<T>(
  deps: ExecDeps,
  run: { readonly target: ExecTarget; readonly wanted: Wanted; readonly spec: () => string },
  operation: Operation,
  use: (command: Command) => Promise<T>,
): Promise<T> {
  const { target, wanted } = run;
  const { id, shim } = target;
  const execId = `exec-${randomBytes(6).toString("hex")}`;
  const pathOf = (name: "stdin" | "stdout" | "stderr"): string =>
    wanted[name] ? deps.places.execFifo(id, `${execId}-${name}`) : "";
  const paths = { stdin: pathOf("stdin"), stdout: pathOf("stdout"), stderr: pathOf("stderr") };
  const made = Object.values(paths).filter((path) => path !== "");
  let command: Command | undefined;
  try {
    await operation.enter("write-spec");
    for (const path of made) makeFifo(path);
    command = new Command(deps, target, { execId, paths, fifos: made }, operation);
    // The shim's OCI runtime puts the command into the container's cgroup.
    await operation.enter("make-cgroup");
    await operation.enter("start-process");
    command.added = true;
    const process = create(AnySchema, { typeUrl: processType, value: Buffer.from(run.spec()) });
    await shim.task.call(
      Task.method.exec,
      { id, execId, terminal: wanted.terminal, ...paths, spec: process },
      { signal: operation.signal },
    );
    return await use(command);
  } finally {
    if (command === undefined) removeFifos(made);
    else command.close();
  }
}

/** A command that a shim knows of. */
class Command {
  readonly stdin: FifoWriter | undefined;
  readonly stdout: FifoReader | undefined;
  readonly stderr: FifoReader | undefined;
  /** True once the shim may know of it. */
  added = false;
  readonly #deps: ExecDeps;
  readonly #target: ExecTarget;
  readonly #execId: string;
  readonly #operation: Operation;
  readonly #over = new AbortController();
  readonly #fifos: readonly string[];
  #inputEnded = false;
  #starting: Promise<{ readonly pid: number }> | undefined;
  /** True from the call of its start until the shim has answered that. */
  #isStarting = false;
  #exit: Promise<{ readonly exitStatus: number }> | undefined;

  constructor(
    deps: ExecDeps,
    target: ExecTarget,
    names: {
      readonly execId: string;
      readonly paths: Readonly<Record<"stdin" | "stdout" | "stderr", string>>;
      readonly fifos: readonly string[];
    },
    operation: Operation,
  ) {
    this.#deps = deps;
    this.#target = target;
    this.#execId = names.execId;
    this.#operation = operation;
    const { stdin, stdout, stderr } = names.paths;
    this.#fifos = names.fifos;
    this.stdin = stdin === "" ? undefined : openFifoWriter(stdin);
    this.stdout = stdout === "" ? undefined : openFifoReader(stdout);
    this.stderr = stderr === "" ? undefined : openFifoReader(stderr);
  }

  /** Starts the command and waits for its end; rejects when the operation is aborted: it goes on then. */
  async run(onStarted: () => void = () => undefined): Promise<number> {
    const { id, shim } = this.#target;
    const { signal } = this.#operation;
    // The call itself has no limit: what starts after it would be nobody's to end.
    const request = { id, execId: this.#execId };
    this.#starting = shim.task.call(Task.method.start, request, { timeoutMs: 0 });
    this.#isStarting = true;
    const settled = (): void => {
      this.#isStarting = false;
    };
    this.#starting.then(settled, settled);
    await inTime(this.#starting, signal);
    const exit = this.#watch();
    if (this.#inputEnded) this.endInput();
    onStarted();
    await this.#operation.enter("wait-for-end");
    return (await beforeAbort(exit, signal)).exitStatus;
  }

  /** Asks for the end of a command that was started. */
  #watch(): Promise<{ readonly exitStatus: number }> {
    const { id, shim } = this.#target;
    const request = { id, execId: this.#execId };
    this.#exit ??= shim.task.wait(Task.method.wait, request, this.#over.signal);
    this.#exit.catch(() => undefined);
    return this.#exit;
  }

  /** From now on the outputs end when the shim has no more of them. */
  letOutputEnd(): void {
    this.stdout?.letEnd();
    this.stderr?.letEnd();
  }

  /** The shim holds the stdin open, too, from the start on until it is told. */
  endInput(): void {
    this.#inputEnded = true;
    if (this.#exit === undefined) return;
    this.stdin?.letEnd();
    this.#tell(Task.method.closeIO, { stdin: true });
  }

  resize({ width, height }: TerminalSize): void {
    this.#tell(Task.method.resizePty, { width, height });
  }

  /** Ends a command whose client is gone: as when its terminal is closed, then by force. Never rejects. */
  async hangUp(): Promise<void> {
    await this.#insist(async () => {
      const pid = await this.#pid();
      if (pid === undefined) return;
      this.#signal(SIGHUP);
      await within(this.#exit ?? Promise.resolve(), hangUpMs);
      await this.#killNow(pid);
    });
  }

  /** Ends the command with what it started. Never rejects. */
  async kill(): Promise<void> {
    await this.#insist(async () => {
      const pid = await this.#pid();
      if (pid !== undefined) await this.#killNow(pid);
    });
  }

  async #insist(end: () => Promise<void>): Promise<void> {
    for (let triesLeft = killTries; triesLeft > 0; triesLeft--) {
      try {
        await this.#operation.undoing("kill-command");
        await end();
        return;
      } catch (error) {
        this.#operation.log.warn(`end command ${this.#execId}: ${messageOf(error)}`);
      }
    }
  }

  /**
   * Closes its streams and removes its fifos: at once, but for a command that is still being started. Its
   * shim opens them then; without them it would wait for ever, or fail with the command running already.
   * The shim forgets it, which nobody waits for: it waits for who holds the output.
   */
  close(): void {
    if (this.#isStarting) {
      void this.#leave().then(() => this.#shut());
    } else {
      this.#shut();
      void this.#leave();
    }
  }

  #shut(): void {
    this.stdin?.close();
    this.stdout?.close();
    this.stderr?.close();
    try {
      removeFifos(this.#fifos);
    } catch (error) {
      this.#operation.log.warn(`remove fifos of command ${this.#execId}: ${messageOf(error)}`);
    }
  }

  /** A command whose start was not awaited to its end is killed when it has started after all. Never rejects. */
  async #leave(): Promise<void> {
    if (this.#starting !== undefined && this.#exit === undefined) {
      try {
        const { pid } = await this.#starting;
        void this.#watch();
        await this.#killNow(pid);
      } catch (error) {
        this.#operation.log.debug(`start of command ${this.#execId}: ${messageOf(error)}`);
      }
    }
    this.#over.abort(new Error("the command is over"));
    if (this.added) this.#tell(Task.method.delete, {});
  }

  /** Undefined for one that was not started. */
  async #pid(): Promise<number | undefined> {
    const starting = this.#starting;
    if (starting === undefined || !(await within(starting, killMs))) return undefined;
    try {
      const { pid } = await starting;
      // Its client may have left before the start was answered: the command runs all the same.
      void this.#watch();
      return pid;
    } catch {
      return undefined;
    }
  }

  async #killNow(pid: number): Promise<void> {
    const candidates = await cgroupProcs(this.#deps.cgroups, this.#target.cgroupPath);
    // Another process may have the pid of one that has ended.
    const ended = this.#exit === undefined || (await within(this.#exit, 0));
    if (pid > 0 && !ended && candidates.includes(pid)) killProcessTree(pid, { candidates });
    if (!ended) this.#signal(SIGKILL);
    if (this.#exit !== undefined) await within(this.#exit, killMs);
  }

  #signal(signal: number): void {
    this.#tell(Task.method.kill, { signal });
  }

  #tell(
    method:
      | typeof Task.method.closeIO
      | typeof Task.method.resizePty
      | typeof Task.method.kill
      | typeof Task.method.delete,
    request: Readonly<Record<string, unknown>>,
  ): void {
    const { id, shim } = this.#target;
    const call = shim.task.call(method as typeof Task.method.delete, {
      id,
      execId: this.#execId,
      ...request,
    });
    call.catch((error: unknown) => {
      this.#operation.log.debug(`${method.name} of command ${this.#execId}: ${messageOf(error)}`);
    });
  }
}

/** Waits for a start as long as a shim may take for it. */
async function inTime(starting: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const late = new AbortController();
  const timer = setTimeout(() => {
    const text = `start command: its shim has not done it after ${callMs} ms`;
    late.abort(new RuntimeError("deadline-exceeded", text));
  }, callMs);
  try {
    await beforeAbort(starting, AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** Reads a stream to its end and keeps its first bytes, so that the writer never blocks. */
class Output {
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  #room = maxOutputBytes;

  constructor(stream: Readable | undefined) {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.ended = promise;
    stream?.on("close", () => resolve(undefined));
    stream?.on("data", (chunk: Buffer) => {
      const kept = chunk.subarray(0, this.#room);
      this.#room -= kept.length;
      if (kept.length > 0) this.#chunks.push(kept);
    });
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }
}
