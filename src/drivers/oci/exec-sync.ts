import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { mkdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { ExecResult } from "../../core/container/index.ts";
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
  spawnChild,
} from "../../linux/index.ts";
import { within } from "./container-end.ts";
import { endTree } from "./end-tree.ts";
import { maxOutputBytes, Output } from "./output.ts";
import { runtimeEnv, runtimeFailure } from "./runtime-command.ts";

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

/** Runs a command in a container; see ContainerRuntime.execSync. */
export async function execSync(
  deps: Deps,
  target: ExecTarget,
  options: {
    readonly spec: string;
    readonly timeoutMs: number | undefined;
    readonly signal: AbortSignal;
  },
): Promise<ExecResult> {
  options.signal.throwIfAborted();
  void announceAttach(deps.cgroups);
  const name = `${target.id}-${randomBytes(6).toString("hex")}`;
  const specFile = join(deps.folder, `${name}.json`);
  const pidFile = join(deps.folder, `${name}.pid`);
  // Beside the container's own processes, which v2 allows as long as no controller is enabled here.
  const group = deps.cgroups.version === "v2" ? `${target.cgroupPath}/exec-${name}` : undefined;
  const groupDir = group === undefined ? undefined : cgroupDirs(deps.cgroups, group)[0];
  try {
    // At once: a kilobyte in the state folder takes less than three turns through the pool do.
    writeFileSync(specFile, options.spec, { mode: 0o600 });
    if (groupDir !== undefined) await mkdir(groupDir);
    const command = new Command(deps, target, { specFile, pidFile, group });
    return await command.result(options);
  } finally {
    for (const file of [specFile, pidFile]) rmSync(file, { force: true });
    // Not empty: the command left a process in the background, which stays until the container ends.
    if (groupDir !== undefined) await remove(rmdir(groupDir), "EBUSY");
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
  #runs = true;

  constructor(
    deps: Deps,
    target: ExecTarget,
    files: {
      readonly specFile: string;
      readonly pidFile: string;
      readonly group: string | undefined;
    },
  ) {
    this.#deps = deps;
    this.#target = target;
    this.#pidFile = files.pidFile;
    this.#group = files.group;
    const subgroup = files.group?.slice(target.cgroupPath.length + 1);
    this.#child = spawnChild({
      file: target.runtimePath,
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

  async result(options: {
    readonly timeoutMs: number | undefined;
    readonly signal: AbortSignal;
  }): Promise<ExecResult> {
    const given = this.#giveUp(options);
    if (this.#target.hostPids) void this.#endBackground();
    try {
      const exit = await Promise.race([this.#child.exited, given.up]);
      await within(Promise.all([this.#stdout.ended, this.#stderr.ended]), drainMs);
      return await this.#answer(exit);
    } catch (error) {
      await this.#kill();
      throw error;
    } finally {
      given.release();
      this.#child.stdout?.destroy();
      this.#child.stderr?.destroy();
    }
  }

  /** A promise that rejects at the timeout, or when nobody waits for the command any more. */
  #giveUp(options: { readonly timeoutMs: number | undefined; readonly signal: AbortSignal }): {
    readonly up: Promise<never>;
    readonly release: () => void;
  } {
    const { timeoutMs, signal } = options;
    const { promise: up, reject } = Promise.withResolvers<never>();
    up.catch(() => undefined);
    const onAbort = (): void => {
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    const onTimeout = (): void => {
      const text = `run command in container "${this.#target.id}": not done after ${timeoutMs} ms, killed`;
      reject(new RuntimeError("deadline-exceeded", text));
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(onTimeout, timeoutMs);
    const release = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    };
    return { up, release };
  }

  /** The runtime ends with the command's exit code, or with its own: then it wrote no pid file. */
  async #answer(exit: ChildExit): Promise<ExecResult> {
    const stderr = this.#stderr.bytes();
    if (exit.code === null || (exit.code !== 0 && (await readPid(this.#pidFile)) === undefined)) {
      const failure = runtimeFailure("exec", { ...exit, stderr });
      throw wrap(`run command in container "${this.#target.id}"`, failure);
    }
    return { stdout: this.#stdout.bytes(), stderr, exitCode: exit.code };
  }

  /**
   * Ends the runtime and the command with all that it started. Killing the runtime would end nothing
   * inside: the command is in a session of its own.
   */
  async #kill(): Promise<void> {
    if (!this.#runs) return;
    const { cgroups, log } = this.#deps;
    try {
      const candidates = await cgroupProcs(cgroups, this.#target.cgroupPath);
      const ended = await endTree(this.#child, killMs, candidates);
      if (!ended) {
        log.warn(
          `a command in container "${this.#target.id}" is still there ${killMs} ms after it was killed`,
        );
      }
      if (this.#group !== undefined) {
        await killCgroup(cgroups, this.#group, { timeoutMs: killMs });
      }
    } catch (error) {
      log.warn(`end command in container "${this.#target.id}": ${messageOf(error)}`);
    }
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
