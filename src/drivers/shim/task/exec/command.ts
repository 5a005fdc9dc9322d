import { messageOf, RuntimeError } from "../../../../base/errors.ts";
import { beforeAbort, within } from "../../../../base/wait.ts";
import type { Operation } from "../../../../core/operation/index.ts";
import type { TerminalSize } from "../../../../core/streaming/index.ts";
import { Task } from "../../../../gen/containerd/task/v3/task_pb.ts";
import { type CgroupLayout, cgroupProcs } from "../../../../linux/cgroup/index.ts";
import {
  type FifoReader,
  type FifoWriter,
  openFifoReader,
  openFifoWriter,
} from "../../../../linux/stream/index.ts";
import { killProcessTree } from "../../../../linux/process/index.ts";
import { removeFifos } from "../container-io.ts";
import type { StateLayout } from "../../process/state-layout.ts";
import type { PodShim } from "../../process/pod-shims.ts";
import { callMs } from "../../process/task-client.ts";

const killMs = 1_000;
const killTries = 2;
/** How long a command that nobody reads any more may take to end by itself, as shells do. */
const hangUpMs = 500;
const SIGHUP = 1;
const SIGKILL = 9;

/** The task that a command is run in. */
export interface ExecTarget {
  readonly id: string;
  readonly cgroupPath: string;
  readonly shim: PodShim;
}

/** What commands are run with. */
export interface ExecDeps {
  readonly places: StateLayout;
  readonly cgroups: CgroupLayout;
}

/** A command that a shim knows of. */
export class ExecCommand {
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
  /** True once its shim has told its end. */
  #ended = false;

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
    if (this.#exit === undefined) {
      this.#exit = shim.task.wait(Task.method.wait, request, this.#over.signal);
      this.#exit.then(
        () => {
          this.#ended = true;
        },
        () => undefined,
      );
    }
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
    const mayRun = (): boolean => this.#starting !== undefined && !this.#ended;
    for (let triesLeft = killTries; mayRun() && triesLeft > 0; triesLeft--) {
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
   * shim opens them then; without them it would wait forever, or fail with the command running already.
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
