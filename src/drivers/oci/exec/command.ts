import { randomBytes } from "node:crypto";
import { existsSync, unlinkSync, writeFileSync } from "node:fs";
import { mkdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import { specText } from "../../../oci-spec/index.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import type { Operation, StepEnd, StepObserver } from "../../../core/operation/index.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  cgroupProcs,
  killCgroup,
  removeCgroup,
} from "../../../linux/cgroup/index.ts";
import {
  type Child,
  execDeclined,
  isDescendant,
  killProcessTree,
  openProcess,
  type ProcessRef,
  SIGHUP,
} from "../../../linux/process/index.ts";
import {
  endCommand,
  endSession,
  type ExecCommand,
  execLimits,
} from "../../../stdio/exec-session.ts";
import { programFailure } from "../../../stdio/program-failure.ts";
import { endTree } from "../end-tree.ts";
import { runtimeFailure, runtimeStep } from "../runtime-command.ts";
import type { DirectContainer } from "./direct.ts";
import {
  type CommandFiles,
  type CommandIo,
  type DirectCommand,
  directCommand,
  type ExecTarget,
  startCommand,
} from "./start-command.ts";

/** What commands are run with. */
export interface ExecDeps {
  /** A directory for files that exist as long as the command. */
  readonly directory: string;
  readonly cgroups: CgroupLayout;
  /** Called when a process will be moved into a cgroup, until `isOver`. */
  readonly expectMigration: ((isOver: () => boolean) => void) | undefined;
  readonly onStep?: StepObserver | undefined;
  readonly log: Logger;
}

const { drainMs, hangUpMs, killMs } = execLimits;
/** Names of commands are this and a number: cgroups of an earlier daemon's commands may still exist. */
const namePrefix = randomBytes(6).toString("hex");
let commandCount = 0;
/** How long a runtime may take to start its command before both are killed. */
const beginMs = 200;

/** davit's own program has not run a command, and has changed nothing: the runtime decides. */
export class Declined extends Error {}

/** A command to run. */
export interface CommandRun {
  readonly target: ExecTarget;
  readonly spec: () => OciProcess;
  readonly io: CommandIo;
  /** Set for a container in which davit's own program may run the command; {@link Declined} then says that it did not. */
  readonly direct?: DirectContainer | undefined;
}

/**
 * Runs a command in a container and calls `use` while it runs. If `use` rejects, everything that the
 * command started is ended. In any case the command's files and its cgroup are removed, except for a cgroup
 * with a background process in it.
 */
export async function withCommand<T>(
  deps: ExecDeps,
  run: CommandRun,
  operation: Operation,
  use: (command: Command) => Promise<T>,
): Promise<T> {
  const { target, io } = run;
  const name = `${target.id}-${namePrefix}${(commandCount++).toString(16)}`;
  const specFile = join(deps.directory, `${name}.json`);
  const pidFile = join(deps.directory, `${name}.pid`);
  // NOTE(runc): it writes the pid to this file, and renames it; one that is killed in between leaves it.
  const newPidFile = join(deps.directory, `.${name}.pid`);
  // A sibling of the container's own processes, which v2 allows while no controller is enabled there.
  const group = deps.cgroups.version === "v2" ? `${target.cgroupPath}/exec-${name}` : undefined;
  const groupDir = group === undefined ? undefined : cgroupDirs(deps.cgroups, group)[0];
  try {
    await operation.enter("write-spec");
    const spec = run.spec();
    const direct = prepareCommand(run.direct, spec, { specFile, pidFile, groupDir });
    // On v1 there is no such cgroup; the stage is entered anyway, as all hosts have the same stages.
    await operation.enter("make-cgroup");
    if (groupDir !== undefined) await mkdir(groupDir);
    await operation.enter("start-process");
    const files = { specFile, pidFile, group };
    const end = beginStep(deps, target, direct);
    // davit's own program moves its command within a millisecond: the wait begins before it.
    if (direct !== undefined) deps.expectMigration?.(() => true);
    const child = await startCommand(target, files, io, direct).catch((error: unknown) => {
      end?.();
      // For example E2BIG: the program has more arguments than the command.
      throw direct === undefined ? error : new Declined();
    });
    void child.exited.then(() => end?.());
    const program = spec.args[0] ?? "";
    const command = new Command(deps, { target, files, child, direct, program }, operation);
    if (target.hostPids) void command.endBackground();
    return await use(command);
  } catch (error) {
    // A command that failed leaves no background process: a child of the runtime may still be dying.
    if (group !== undefined) await killGroupOf(deps, target.id, group);
    throw error;
  } finally {
    for (const file of [specFile, pidFile, newPidFile]) removeFile(file);
    if (group !== undefined && groupDir !== undefined) {
      // This does not fail the command; a cgroup that remains is removed with the container.
      await removeGroup(deps, group, groupDir).catch((error: unknown) => {
        deps.log.warn(
          `failed to remove cgroup of a command in container "${target.id}": ${messageOf(error)}`,
        );
      });
    }
  }
}

/** The command for davit's own program; undefined: the spec for the runtime is written. Throws {@link Declined}. */
function prepareCommand(
  container: DirectContainer | undefined,
  spec: OciProcess,
  files: {
    readonly specFile: string;
    readonly pidFile: string;
    readonly groupDir: string | undefined;
  },
): DirectCommand | undefined {
  if (container === undefined) {
    // Synchronously: writing a kilobyte to the state directory is quicker than three turns of the thread pool.
    writeFileSync(files.specFile, specText(spec), { mode: 0o600 });
    return undefined;
  }
  const direct = directCommand(container, spec, files);
  if (direct === undefined) throw new Declined();
  return direct;
}

function beginStep(
  { onStep }: ExecDeps,
  { runtimePath }: ExecTarget,
  direct: DirectCommand | undefined,
): StepEnd | undefined {
  if (direct === undefined) return runtimeStep(onStep, "exec", runtimePath);
  return onStep?.({ name: "davit-exec", attributes: {} });
}

async function killGroupOf({ cgroups, log }: ExecDeps, id: string, group: string): Promise<void> {
  try {
    await killCgroup(cgroups, group, { timeoutMs: killMs });
  } catch (error) {
    log.warn(`failed to end the processes of a command in container "${id}": ${messageOf(error)}`);
  }
}

/** Removes a command's cgroup. One with a background process in it stays until the container ends. */
async function removeGroup({ cgroups }: ExecDeps, group: string, dir: string): Promise<void> {
  await remove(rmdir(dir), "EBUSY");
  // A process that is exiting is no longer listed, and keeps the cgroup busy a moment longer.
  if (existsSync(dir) && (await cgroupProcs(cgroups, group)).length === 0) {
    await removeCgroup(cgroups, group);
  }
}

/** A command that runs, or has ended. */
export class Command implements ExecCommand {
  /** The process that runs the command and ends with it: see {@link execProgram}. */
  readonly child: Child;
  readonly #deps: ExecDeps;
  readonly #target: ExecTarget;
  readonly #pidFile: string;
  readonly #group: string | undefined;
  readonly #operation: Operation;
  readonly #isDirect: boolean;
  readonly #program: string;
  #runs = true;
  #begun: Promise<boolean> | undefined;

  constructor(
    deps: ExecDeps,
    started: {
      readonly target: ExecTarget;
      readonly files: CommandFiles;
      readonly child: Child;
      readonly direct: DirectCommand | undefined;
      readonly program: string;
    },
    operation: Operation,
  ) {
    const { files, child } = started;
    this.child = child;
    this.#isDirect = started.direct !== undefined;
    this.#program = started.program;
    this.#operation = operation;
    this.#deps = deps;
    this.#target = started.target;
    this.#pidFile = files.pidFile;
    this.#group = files.group;
    void child.exited.then(() => {
      this.#runs = false;
    });
    // The runtime writes the command's pid after it has moved it into its cgroup.
    if (!this.#isDirect) deps.expectMigration?.(() => !this.#runs || existsSync(files.pidFile));
  }

  async ended(): Promise<void> {
    await this.#operation.enter("wait-for-end");
    await beforeAbort(this.child.exited, this.#operation.signal);
  }

  /** True once the command itself runs or has run: its stderr is then not the runtime's. Never rejects. */
  hasBegun(): Promise<boolean> {
    this.#begun ??= this.#waitForBegin();
    return this.#begun;
  }

  /** False for a command that davit's own program has declined: what its client sends is for the runtime's. Never rejects. */
  async isAccepted(): Promise<boolean> {
    return !this.#isDirect || (await this.hasBegun());
  }

  async #waitForBegin(): Promise<boolean> {
    for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 20)) {
      const runs = this.#runs;
      // A file that cannot be read now, as without descriptors, may be readable later.
      const pid = await readPid(this.#pidFile).catch(() => undefined);
      if (pid !== undefined) return true;
      if (!runs) return false;
      await within(this.child.exited, waitMs);
    }
  }

  /**
   * The exit code of the command that has ended. The runtime ends with it, or with its own exit code: then it wrote
   * no pid file, and its stderr is the error. Throws {@link Declined} where davit's own program has not run it.
   */
  async exitCode(stderr: Uint8Array): Promise<number> {
    const exit = await this.child.exited;
    if (exit.code === 0) return 0;
    const hasBegun = (await readPid(this.#pidFile)) !== undefined;
    if (exit.code !== null && hasBegun) return exit.code;
    if (this.#isDirect && exit.code === execDeclined) throw new Declined();
    // Later stages were entered before this was known.
    if (!hasBegun) this.#operation.failedIn("start-process");
    if (this.#isDirect) throw this.#lost();
    const failure = runtimeFailure("exec", { ...exit, stderr });
    throw programFailure(this.#program, failure.message) ?? failure;
  }

  /** davit's own program ended without an answer: it was killed, or could not write the pid file. */
  #lost(): RuntimeError {
    const text = `the program that runs commands was killed: see the kernel's log for a lack of memory, and if there is space for "${this.#pidFile}"`;
    return new RuntimeError("unknown", `exec: ${text}`);
  }

  /** Sends a signal to the command itself, once it runs. Does nothing if it has ended. */
  async signal(number: number): Promise<void> {
    if (!(await this.hasBegun())) return;
    const pid = await readPid(this.#pidFile);
    if (pid === undefined || !this.#runs) return;
    using command = this.#process(pid);
    command?.kill(number);
  }

  /**
   * Ends a command whose client is gone: SIGHUP first, as from a terminal that is closed, so that a
   * shell can write its history; then all of its session is killed.
   */
  async hangUp(): Promise<void> {
    // The command may write output before the runtime has written its pid.
    await within(this.hasBegun(), beginMs);
    const pid = await readPid(this.#pidFile);
    if (pid !== undefined && this.#runs) {
      using command = this.#process(pid);
      command?.kill(SIGHUP);
      await within(this.child.exited, hangUpMs);
    }
    await this.kill();
    if (pid === undefined || this.#group !== undefined) return;
    const { cgroups, log } = this.#deps;
    try {
      await endSession(pid, () => cgroupProcs(cgroups, this.#target.cgroupPath));
    } catch (error) {
      log.warn(
        `failed to end a command's session in container "${this.#target.id}": ${messageOf(error)}`,
      );
    }
  }

  /**
   * The command itself; undefined if it has ended. The runtime reaps it a moment before it ends itself: the pid may belong to
   * another process by then.
   */
  #process(pid: number): ProcessRef | undefined {
    const command = openProcess(pid);
    if (command === undefined || isDescendant(pid, this.child.pid)) return command;
    command.close();
    return undefined;
  }

  /**
   * Ends the runtime and the command with everything that it started. Killing the runtime alone would not end
   * the command, which is in a session of its own.
   */
  async kill(): Promise<void> {
    const command = {
      name: `a command in container "${this.#target.id}"`,
      runs: () => this.#runs,
    };
    const deps = { operation: this.#operation, log: this.#deps.log };
    await endCommand(command, deps, () => this.#killNow());
  }

  async #killNow(): Promise<void> {
    const { cgroups, log } = this.#deps;
    const candidates = await cgroupProcs(cgroups, this.#target.cgroupPath);
    if (!(await endTree(this.child, killMs, candidates))) {
      log.warn(
        `a command in container "${this.#target.id}" still runs ${killMs} ms after it was killed`,
      );
    }
    if (this.#group !== undefined) await killCgroup(cgroups, this.#group, { timeoutMs: killMs });
  }

  /**
   * NOTE(crun): `crun exec` is a subreaper and ends when it has no child left. In a container without
   * a PID namespace of its own it adopts the command's background processes, and would report the
   * command's end only after theirs. So they are ended then.
   */
  async endBackground(): Promise<void> {
    try {
      let pid: number | undefined;
      for (let waitMs = 1; this.#runs && pid === undefined; waitMs = Math.min(waitMs * 2, 50)) {
        pid = await readPid(this.#pidFile);
        if (pid === undefined) await delay(waitMs);
      }
      if (pid === undefined) return;
      using command = openProcess(pid);
      if (command !== undefined) await Promise.race([command.exited, this.child.exited]);
      await within(this.child.exited, drainMs);
      if (this.#runs) killProcessTree(this.child.pid, { spareRoot: true });
    } catch (error) {
      this.#deps.log.warn(
        `failed to end background processes of a command in container "${this.#target.id}": ${messageOf(error)}`,
      );
    }
  }
}

/** Removes a file that may not exist. rmSync() first asks what it is. */
function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (cause) {
    if (errnoCode(cause) !== "ENOENT") throw cause;
  }
}

/** Undefined if the file does not exist, or is not written yet. */
async function readPid(path: string): Promise<number | undefined> {
  try {
    const pid = Number.parseInt(await readFile(path, "latin1"), 10);
    return pid > 0 ? pid : undefined;
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw cause;
  }
}

/** Ignores that the file does not exist, and the error `ignored`. */
async function remove(removal: Promise<void>, ignored?: string): Promise<void> {
  try {
    await removal;
  } catch (cause) {
    const code = errnoCode(cause);
    if (code !== "ENOENT" && code !== ignored) throw cause;
  }
}
