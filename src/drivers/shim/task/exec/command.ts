import { messageOf, RuntimeError } from "../../../../base/errors.ts";
import { beforeAbort, within } from "../../../../base/wait.ts";
import type { Operation } from "../../../../core/operation/index.ts";
import { Task } from "../../../../gen/containerd/task/v3/task_pb.ts";
import { type CgroupLayout, cgroupProcs } from "../../../../linux/cgroup/index.ts";
import { killProcessTree, SIGHUP, SIGKILL } from "../../../../linux/process/index.ts";
import type { FifoReader, FifoWriter } from "../../../../linux/stream/index.ts";
import type { ClientStreams } from "../../../../core/streaming/index.ts";
import { followSignals } from "../../../../stdio/client-signals.ts";
import {
  endCommand,
  endSession,
  type ExecCommand,
  execLimits,
} from "../../../../stdio/exec-session.ts";
import type { TerminalSizes } from "../../../../stdio/terminal-sizes.ts";
import type { PodShim } from "../../process/pod-shims.ts";
import type { StateLayout } from "../../process/state-layout.ts";
import { callMs } from "../../process/task-client.ts";
import { removeFifos } from "../container-io.ts";

const { hangUpMs, killMs } = execLimits;

/** The task that a command is run in. */
export interface ExecTarget {
  readonly id: string;
  readonly cgroupPath: string;
  readonly shim: PodShim;
  /** The shim serves the streams of commands, and there are no fifos. */
  readonly streaming: boolean;
}

/** Our ends of a command's streams; undefined for /dev/null. */
export interface CommandStreams {
  readonly stdin: FifoWriter | undefined;
  readonly stdout: FifoReader | undefined;
  readonly stderr: FifoReader | undefined;
}

/** What commands are run with. */
export interface ExecDeps {
  readonly paths: StateLayout;
  readonly cgroups: CgroupLayout;
}

/** A command of a shim's task. */
export class TaskCommand implements ExecCommand {
  readonly stdin: FifoWriter | undefined;
  readonly stdout: FifoReader | undefined;
  readonly stderr: FifoReader | undefined;
  /** True once the shim may know the command. */
  isAdded = false;
  readonly #deps: ExecDeps;
  readonly #target: ExecTarget;
  readonly #execId: string;
  readonly #operation: Operation;
  readonly #fifos: readonly string[];
  readonly #sizes: TerminalSizes | undefined;
  readonly #client: ClientStreams | undefined;
  #signals: Disposable | undefined;
  readonly #closing = new AbortController();
  #inputEnded = false;
  #start: Promise<{ readonly pid: number }> | undefined;
  /** True from the call of its start until the shim has answered it. */
  #isStarting = false;
  #exit: Promise<{ readonly exitStatus: number }> | undefined;
  /** Set once the shim has reported its exit. */
  #exitCode: number | undefined;

  constructor(
    deps: ExecDeps,
    target: ExecTarget,
    options: {
      readonly execId: string;
      readonly streams: CommandStreams;
      readonly fifos: readonly string[];
      readonly sizes: TerminalSizes | undefined;
      readonly client: ClientStreams | undefined;
    },
    operation: Operation,
  ) {
    this.#deps = deps;
    this.#target = target;
    this.#execId = options.execId;
    this.#operation = operation;
    this.#sizes = options.sizes;
    this.#client = options.client;
    this.#fifos = options.fifos;
    this.stdin = options.streams.stdin;
    this.stdout = options.streams.stdout;
    this.stderr = options.streams.stderr;
  }

  /** Starts the command and waits for its end. */
  async ended(): Promise<void> {
    const { id, shim } = this.#target;
    const { signal } = this.#operation;
    // The call itself has no time limit: a command that starts after the limit could not be ended.
    const request = { id, execId: this.#execId };
    this.#start = shim.task.call(Task.method.start, request, { timeoutMs: 0 });
    this.#isStarting = true;
    const settled = (): void => {
      this.#isStarting = false;
    };
    this.#start.then(settled, settled);
    await beforeAbort(withinCallLimit(this.#start, signal), signal);
    const exit = this.#waitForExit();
    if (this.#inputEnded) this.endInput();
    this.#sizes?.follow(({ width, height }) =>
      this.#call(Task.method.resizePty, { width, height }),
    );
    this.#client?.onStarted?.();
    const kill = (number: number): Promise<void> =>
      this.#call(Task.method.kill, { signal: number });
    this.#signals = followSignals(this.#client?.signals, kill, this.#operation.log);
    await this.#operation.enter("wait-for-end");
    await beforeAbort(exit, signal);
    this.stdout?.letEnd();
    this.stderr?.letEnd();
  }

  async exitCode(): Promise<number> {
    return (await this.#waitForExit()).exitStatus;
  }

  /** Calls the shim's Wait once for the command, which was started. */
  #waitForExit(): Promise<{ readonly exitStatus: number }> {
    const { id, shim } = this.#target;
    const request = { id, execId: this.#execId };
    if (this.#exit === undefined) {
      this.#exit = shim.task.wait(Task.method.wait, request, this.#closing.signal);
      this.#exit.then(
        ({ exitStatus }) => {
          this.#exitCode = exitStatus;
        },
        () => undefined,
      );
    }
    return this.#exit;
  }

  /** Ends the command's stdin. The shim has it open, too, from the start until CloseIO. */
  endInput(): void {
    this.#inputEnded = true;
    if (this.#exit !== undefined) void this.#closeInput();
  }

  async #closeInput(): Promise<void> {
    // NOTE(containerd): the shim answers Start before it has opened the FIFO, and its Close of a FIFO that is not open yet
    // opens and closes the other end.
    await this.stdin?.letEnd();
    void this.#call(Task.method.closeIO, { stdin: true });
  }

  async hangUp(): Promise<void> {
    await this.#end(async () => {
      const pid = await this.#pid();
      if (pid === undefined) return;
      // In a virtual machine, the pid is not one of this host.
      const isOfHost = pid > 0 && (await this.#candidates()).includes(pid);
      void this.#call(Task.method.kill, { signal: SIGHUP });
      await within(this.#exit ?? Promise.resolve(), hangUpMs);
      await this.#killNow(pid);
      // What it started does not end with it.
      if (isOfHost) await endSession(pid, () => this.#candidates());
    });
  }

  async kill(): Promise<void> {
    await this.#end(async () => {
      const pid = await this.#pid();
      if (pid !== undefined) await this.#killNow(pid);
    });
  }

  async #end(end: () => Promise<void>): Promise<void> {
    const runs = (): boolean => this.#start !== undefined && this.#exitCode === undefined;
    const operation = this.#operation;
    const command = { name: `a command in container "${this.#target.id}"`, runs };
    await endCommand(command, { operation, log: operation.log }, end);
  }

  /**
   * Closes its streams and removes its fifos: at once, except for a command that is still being started. Its
   * shim opens the fifos then; without them it would wait forever, or fail while the command runs.
   * The shim deletes the command in the background, as it waits for processes that have the output open.
   */
  close(): void {
    this.#signals?.[Symbol.dispose]();
    if (this.#isStarting) {
      void this.#delete().then(() => this.#closeStreams());
    } else {
      this.#closeStreams();
      void this.#delete();
    }
  }

  #closeStreams(): void {
    this.stdin?.close();
    this.stdout?.close();
    this.stderr?.close();
    try {
      removeFifos(this.#fifos);
    } catch (error) {
      this.#operation.log.warn(
        `failed to remove fifos of a command in container "${this.#target.id}": ${messageOf(error)}`,
      );
    }
  }

  /** Has the shim delete the command; if its start was not awaited, it is killed first. Never rejects. */
  async #delete(): Promise<void> {
    if (this.#start !== undefined && this.#exit === undefined) {
      try {
        const { pid } = await this.#start;
        void this.#waitForExit();
        await this.#killNow(pid);
      } catch (error) {
        this.#operation.log.debug(`start of command ${this.#execId} failed: ${messageOf(error)}`);
      }
    }
    this.#closing.abort(new Error("the command is closed"));
    if (this.isAdded) void this.#call(Task.method.delete, {});
  }

  /** Undefined for a command that was not started. */
  async #pid(): Promise<number | undefined> {
    const start = this.#start;
    if (start === undefined || !(await within(start, killMs))) return undefined;
    const { pid } = await start;
    // Its client may have left before the start was answered; the command runs anyway.
    void this.#waitForExit();
    return pid;
  }

  /** The processes of the container. */
  async #candidates(): Promise<readonly number[]> {
    const { cgroupPath } = this.#target;
    return cgroupPath === "" ? [] : cgroupProcs(this.#deps.cgroups, cgroupPath);
  }

  async #killNow(pid: number): Promise<void> {
    const candidates = await this.#candidates();
    // If the command has ended, its pid may have been reused.
    const ended = this.#exit === undefined || (await within(this.#exit, 0));
    if (pid > 0 && !ended && candidates.includes(pid)) killProcessTree(pid, { candidates });
    if (!ended) void this.#call(Task.method.kill, { signal: SIGKILL });
    if (this.#exit !== undefined) await within(this.#exit, killMs);
  }

  /** Calls the shim. Fulfilled when it has answered, whatever the answer is: it handles calls that run at once in any order. */
  async #call(
    method:
      | typeof Task.method.closeIO
      | typeof Task.method.resizePty
      | typeof Task.method.kill
      | typeof Task.method.delete,
    request: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const { id, shim } = this.#target;
    const call = shim.task.call(method as typeof Task.method.delete, {
      id,
      execId: this.#execId,
      ...request,
    });
    await call.catch((error: unknown) => {
      this.#operation.log.debug(
        `${method.name} of command ${this.#execId} failed: ${messageOf(error)}`,
      );
    });
  }
}

/** Waits for a start, no longer than a call of a shim may take. */
async function withinCallLimit(start: Promise<unknown>, signal: AbortSignal): Promise<void> {
  // The start's own failure is awaited below.
  const isAnswered = await within(
    start.catch(() => undefined),
    callMs,
    signal,
  );
  signal.throwIfAborted();
  if (isAnswered) await start;
  else {
    const text = `start command: its shim has not answered after ${callMs} ms`;
    throw new RuntimeError("deadline-exceeded", text);
  }
}
