import { randomBytes } from "node:crypto";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { mkdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { beforeAbort } from "../../base/rollback.ts";
import type { ExecResult } from "../../core/container/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import {
  announceAttach,
  type CgroupLayout,
  type Child,
  type ChildExit,
  cgroupDirs,
  cgroupProcs,
  errnoCode,
  killCgroup,
  killProcessTree,
  openProcess,
  removeCgroup,
  spawnChild,
} from "../../linux/index.ts";
import { within } from "./container-end.ts";
import { endTree } from "./end-tree.ts";
import { maxOutputBytes, Output } from "./output.ts";
import { runtimeEnv, runtimeFailure, runtimeProgram } from "./runtime-command.ts";

/** The container that a command is run in. */
export interface ExecTarget {
  readonly id: string;
  readonly runtimePath: string;
  readonly runtimeRoot: string;
  readonly cgroupPath: string;
  /** It has no PID namespace of its own: see {@link endBackground}. */
  readonly hostPids: boolean;
}

interface Deps {
  /** A folder for files that live as long as the command. */
  readonly folder: string;
  readonly cgroups: CgroupLayout;
  readonly log: Logger;
}

/** How long output is awaited after the command's end: what it left behind may hold the pipes open. */
const drainMs = 250;
/** How long the answer to a timeout waits for the killed processes to be gone. */
const killMs = 1_000;
const killTries = 2;

/** Runs a command in a container; see ContainerRuntime.execSync. */
export async function execSync(
  deps: Deps,
  target: ExecTarget,
  spec: string,
  operation: Operation,
): Promise<ExecResult> {
  void announceAttach(deps.cgroups);
  const name = `${target.id}-${randomBytes(6).toString("hex")}`;
  const specFile = join(deps.folder, `${name}.json`);
  const pidFile = join(deps.folder, `${name}.pid`);
  // Beside the container's own processes, which v2 allows as long as no controller is enabled here.
  const group = deps.cgroups.version === "v2" ? `${target.cgroupPath}/exec-${name}` : undefined;
  const groupDir = group === undefined ? undefined : cgroupDirs(deps.cgroups, group)[0];
  try {
    await operation.enter("write-spec");
    // At once: a kilobyte in the state folder takes less than three turns through the pool do.
    writeFileSync(specFile, spec, { mode: 0o600 });
    // On v1, where there is none, a stage all the same: the list of stages is one for all hosts.
    await operation.enter("make-cgroup");
    if (groupDir !== undefined) await mkdir(groupDir);
    await operation.enter("start-process");
    const command = new Command(deps, target, { specFile, pidFile, group }, operation);
    return await command.result();
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

async function killGroupOf({ cgroups, log }: Deps, id: string, group: string): Promise<void> {
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
async function removeGroup({ cgroups }: Deps, group: string, dir: string): Promise<void> {
  await remove(rmdir(dir), "EBUSY");
  // A process that is ending is not listed any more, and holds the cgroup a moment longer.
  if (existsSync(dir) && (await cgroupProcs(cgroups, group)).length === 0) {
    await removeCgroup(cgroups, group);
  }
}

/** A command under way. */
class Command {
  readonly #deps: Deps;
  readonly #target: ExecTarget;
  readonly #pidFile: string;
  readonly #group: string | undefined;
  readonly #child: Child;
  readonly #stdout: Output;
  readonly #stderr: Output;
  readonly #operation: Operation;
  #runs = true;

  constructor(
    deps: Deps,
    target: ExecTarget,
    files: {
      readonly specFile: string;
      readonly pidFile: string;
      readonly group: string | undefined;
    },
    operation: Operation,
  ) {
    this.#operation = operation;
    this.#deps = deps;
    this.#target = target;
    this.#pidFile = files.pidFile;
    this.#group = files.group;
    const subgroup = files.group?.slice(target.cgroupPath.length + 1);
    this.#child = spawnChild({
      file: runtimeProgram(target.runtimePath),
      args: [
        ...["--root", target.runtimeRoot, "exec"],
        ...["--process", files.specFile, "--pid-file", files.pidFile],
        ...(subgroup === undefined ? [] : ["--cgroup", subgroup]),
        target.id,
      ],
      env: runtimeEnv,
      newSession: true,
      stdout: "pipe",
      stderr: "pipe",
    });
    void this.#child.exited.then(() => {
      this.#runs = false;
    });
    this.#stdout = new Output(this.#child.stdout, maxOutputBytes);
    this.#stderr = new Output(this.#child.stderr, maxOutputBytes);
  }

  /** Rejects when the operation is aborted, the command then killed. */
  async result(): Promise<ExecResult> {
    if (this.#target.hostPids) void this.#endBackground();
    try {
      await this.#operation.enter("wait-for-end");
      const exit = await beforeAbort(this.#child.exited, this.#operation.signal);
      await this.#operation.enter("drain-output");
      await within(Promise.all([this.#stdout.ended, this.#stderr.ended]), drainMs);
      return await this.#answer(exit);
    } catch (error) {
      await this.#kill();
      throw error;
    } finally {
      this.#child.stdout?.destroy();
      this.#child.stderr?.destroy();
    }
  }

  /** The runtime ends with the command's exit code, or with its own: then it wrote no pid file. */
  async #answer(exit: ChildExit): Promise<ExecResult> {
    const stderr = this.#stderr.bytes();
    if (exit.code === null || (exit.code !== 0 && (await readPid(this.#pidFile)) === undefined)) {
      throw runtimeFailure("exec", { ...exit, stderr });
    }
    return { stdout: this.#stdout.bytes(), stderr, exitCode: exit.code };
  }

  /**
   * Ends the runtime and the command with all that it started. Killing the runtime would end nothing
   * inside: the command is in a session of its own.
   */
  async #kill(): Promise<void> {
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
    if (!(await endTree(this.#child, killMs, candidates))) {
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
  async #endBackground(): Promise<void> {
    try {
      let pid: number | undefined;
      for (let waitMs = 1; this.#runs && pid === undefined; waitMs = Math.min(waitMs * 2, 50)) {
        pid = await readPid(this.#pidFile);
        if (pid === undefined) await delay(waitMs);
      }
      if (pid === undefined) return;
      using command = openProcess(pid);
      if (command !== undefined) await Promise.race([command.exited, this.#child.exited]);
      await within(this.#child.exited, drainMs);
      if (this.#runs) killProcessTree(this.#child.pid, { spareRoot: true });
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
