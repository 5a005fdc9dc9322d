import { randomBytes } from "node:crypto";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { mkdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { beforeAbort } from "../../../base/wait.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import { specText } from "../../../oci-spec/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  cgroupProcs,
  expectCgroupMigration,
  killCgroup,
  removeCgroup,
} from "../../../linux/cgroup/index.ts";
import {
  type Child,
  type ChildExit,
  killProcessTree,
  killSession,
  openProcess,
  spawnChildInPool,
} from "../../../linux/process/index.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { within } from "../container-end.ts";
import { endTree } from "../end-tree.ts";
import { execProgram, runtimeEnv, runtimeFailure, runtimeOptions } from "../runtime-command.ts";

/** The container that a command is run in. */
export interface ExecTarget {
  readonly id: string;
  readonly runtimePath: string;
  readonly runtimeRoot: string;
  readonly cgroupPath: string;
  /** It has no PID namespace of its own: see {@link Command.endBackground}. */
  readonly hostPids: boolean;
}

/** What commands are run with. */
export interface ExecDeps {
  /** A directory for files that live as long as the command. */
  readonly directory: string;
  readonly cgroups: CgroupLayout;
  readonly log: Logger;
}

/** The command's own ends. Its stderr is always a pipe: a runtime's words come there. */
export interface CommandIo {
  readonly stdin: "null" | "pipe";
  readonly stdout: "null" | "pipe";
  /** Path of the socket that takes the command's terminal. */
  readonly consoleSocket?: string;
}

/** How long output is awaited after the command's end: what it left behind may hold the pipes open. */
export const drainMs = 250;
/** How long the answer to a timeout waits for the killed processes to be gone. */
const killMs = 1_000;
const killTries = 2;
/** How often the processes of a session are looked for, until none is left. */
const killRounds = 50;
const betweenRoundsMs = 5;
/** How long a command that nobody reads any more may take to end by itself, as shells do. */
const hangUpMs = 500;
/** How long a runtime that is about to start its command is waited for before both are killed. */
const beginMs = 200;
const SIGHUP = 1;

/**
 * Runs a command in a container and calls `use` while it runs. When that rejects, everything that the
 * command started is ended, and in any case its files and its cgroup are gone then, but for a cgroup
 * that a process in the background holds.
 */
export async function withCommand<T>(
  deps: ExecDeps,
  run: { readonly target: ExecTarget; readonly spec: () => OciProcess; readonly io: CommandIo },
  operation: Operation,
  use: (command: Command) => Promise<T>,
): Promise<T> {
  const { target, spec, io } = run;
  const name = `${target.id}-${randomBytes(6).toString("hex")}`;
  const specFile = join(deps.directory, `${name}.json`);
  const pidFile = join(deps.directory, `${name}.pid`);
  // Beside the container's own processes, which v2 allows as long as no controller is enabled here.
  const group = deps.cgroups.version === "v2" ? `${target.cgroupPath}/exec-${name}` : undefined;
  const groupDir = group === undefined ? undefined : cgroupDirs(deps.cgroups, group)[0];
  try {
    await operation.enter("write-spec");
    // At once: a kilobyte in the state directory takes less than three turns through the pool do.
    writeFileSync(specFile, specText(spec()), { mode: 0o600 });
    // On v1, where there is none, a stage all the same: the list of stages is one for all hosts.
    await operation.enter("make-cgroup");
    if (groupDir !== undefined) await mkdir(groupDir);
    await operation.enter("start-process");
    const files = { specFile, pidFile, group };
    const child = await startCommand(target, files, io);
    const command = new Command(deps, { target, files, child }, operation);
    if (target.hostPids) void command.endBackground();
    return await use(command);
  } catch (error) {
    // What failed leaves nothing in the background: a child of the runtime may only still be dying.
    if (group !== undefined) await killGroupOf(deps, target.id, group);
    throw error;
  } finally {
    for (const file of [specFile, pidFile]) rmSync(file, { force: true });
    if (group !== undefined && groupDir !== undefined) {
      // The answer counts, whatever becomes of this; what stays goes with the container.
      await removeGroup(deps, group, groupDir).catch((error: unknown) => {
        deps.log.warn(
          `remove cgroup of a command in container "${target.id}": ${messageOf(error)}`,
        );
      });
    }
  }
}

async function killGroupOf({ cgroups, log }: ExecDeps, id: string, group: string): Promise<void> {
  try {
    await killCgroup(cgroups, group, { timeoutMs: killMs });
  } catch (error) {
    log.warn(`end what is left of a command in container "${id}": ${messageOf(error)}`);
  }
}

/**
 * Removes a command's cgroup. One with a process that the command left in the background stays
 * until the container ends.
 */
async function removeGroup({ cgroups }: ExecDeps, group: string, dir: string): Promise<void> {
  await remove(rmdir(dir), "EBUSY");
  // A process that is ending is not listed any more, and holds the cgroup a moment longer.
  if (existsSync(dir) && (await cgroupProcs(cgroups, group)).length === 0) {
    await removeCgroup(cgroups, group);
  }
}

interface CommandFiles {
  readonly specFile: string;
  readonly pidFile: string;
  /** The command's own cgroup, on v2. */
  readonly group: string | undefined;
}

function startCommand(target: ExecTarget, files: CommandFiles, io: CommandIo): Promise<Child> {
  const subgroup = files.group?.slice(target.cgroupPath.length + 1);
  const args = [
    ...["--process", files.specFile],
    ...(subgroup === undefined ? [] : ["--cgroup", subgroup]),
    ...(io.consoleSocket === undefined ? [] : ["--console-socket", io.consoleSocket]),
    target.id,
  ];
  const options = runtimeOptions(target.runtimeRoot, target.cgroupPath);
  return spawnChildInPool({
    ...execProgram(target.runtimePath, options, { pidFile: files.pidFile, args }),
    env: runtimeEnv,
    newSession: true,
    stdin: io.stdin,
    stdout: io.stdout,
    stderr: "pipe",
  });
}

/** A command under way. */
export class Command {
  /** What runs it, and ends with it: see {@link execProgram}. */
  readonly child: Child;
  readonly #deps: ExecDeps;
  readonly #target: ExecTarget;
  readonly #pidFile: string;
  readonly #group: string | undefined;
  readonly #operation: Operation;
  #runs = true;

  constructor(
    deps: ExecDeps,
    started: { readonly target: ExecTarget; readonly files: CommandFiles; readonly child: Child },
    operation: Operation,
  ) {
    const { files, child } = started;
    this.child = child;
    this.#operation = operation;
    this.#deps = deps;
    this.#target = started.target;
    this.#pidFile = files.pidFile;
    this.#group = files.group;
    void child.exited.then(() => {
      this.#runs = false;
    });
    // The runtime tells the command's pid when it has moved it into its cgroup.
    expectCgroupMigration(deps.cgroups, () => !this.#runs || existsSync(files.pidFile));
  }

  /** Waits for the command's end. Rejects when the operation is aborted; the command goes on. */
  async ended(): Promise<ChildExit> {
    await this.#operation.enter("wait-for-end");
    return beforeAbort(this.child.exited, this.#operation.signal);
  }

  /** True once the command itself runs, or has run: what comes from stderr then is not the runtime's. */
  async hasBegun(): Promise<boolean> {
    for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 20)) {
      const runs = this.#runs;
      if ((await readPid(this.#pidFile)) !== undefined) return true;
      if (!runs) return false;
      await within(this.child.exited, waitMs);
    }
  }

  /**
   * The command's exit code. The runtime ends with that, or with its own: then it wrote no pid file,
   * and what it said is the error.
   */
  async exitCode(exit: ChildExit, stderr: Uint8Array): Promise<number> {
    if (exit.code === null || (exit.code !== 0 && (await readPid(this.#pidFile)) === undefined)) {
      throw runtimeFailure("exec", { ...exit, stderr });
    }
    return exit.code;
  }

  /**
   * Ends a command whose client is gone: SIGHUP first, as a terminal gives it that is gone, so that a
   * shell can write its history; then all of its session is killed.
   */
  async hangUp(): Promise<void> {
    // The command may write before the runtime tells its pid.
    await within(this.hasBegun(), beginMs);
    const pid = await readPid(this.#pidFile);
    if (pid !== undefined && this.#runs) {
      using command = openProcess(pid);
      command?.kill(SIGHUP);
      await within(this.child.exited, hangUpMs);
    }
    await this.kill();
    if (pid === undefined || this.#group !== undefined) return;
    const { cgroups, log } = this.#deps;
    try {
      // What was just starting another one when it was listed has left that behind.
      for (let round = 0; round < killRounds; round++) {
        if (killSession(pid, await cgroupProcs(cgroups, this.#target.cgroupPath)) === 0) return;
        await delay(betweenRoundsMs);
      }
    } catch (error) {
      log.warn(`end session in container "${this.#target.id}": ${messageOf(error)}`);
    }
  }

  /**
   * Ends the runtime and the command with all that it started. Killing the runtime would end nothing
   * inside: the command is in a session of its own.
   */
  async kill(): Promise<void> {
    const { log } = this.#deps;
    for (let triesLeft = killTries; this.#runs && triesLeft > 0; triesLeft--) {
      try {
        await this.#operation.undoing("kill-command");
        await this.#killNow();
        return;
      } catch (error) {
        log.warn(`end command in container "${this.#target.id}": ${messageOf(error)}`);
      }
    }
  }

  async #killNow(): Promise<void> {
    const { cgroups, log } = this.#deps;
    const candidates = await cgroupProcs(cgroups, this.#target.cgroupPath);
    if (!(await endTree(this.child, killMs, candidates))) {
      log.warn(
        `a command in container "${this.#target.id}" is still there ${killMs} ms after it was killed`,
      );
    }
    if (this.#group !== undefined) await killCgroup(cgroups, this.#group, { timeoutMs: killMs });
  }

  /**
   * NOTE(crun): `crun exec` is a subreaper and ends when it has no child left. In a container without
   * a PID namespace of its own it adopts what the command leaves in the background, and would tell the
   * command's end only after theirs. So these are ended then.
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
        `end what a command left in container "${this.#target.id}": ${messageOf(error)}`,
      );
    }
  }
}

/** Undefined when the file is not there, or not written yet. */
async function readPid(path: string): Promise<number | undefined> {
  try {
    const pid = Number.parseInt(await readFile(path, "latin1"), 10);
    return pid > 0 ? pid : undefined;
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw cause;
  }
}

/** "Not there" is done, as is the other reason given. */
async function remove(removal: Promise<void>, alsoFine?: string): Promise<void> {
  try {
    await removal;
  } catch (cause) {
    const code = errnoCode(cause);
    if (code !== "ENOENT" && code !== alsoFine) throw cause;
  }
}
