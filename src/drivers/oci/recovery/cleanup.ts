import { existsSync } from "node:fs";
import { access, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { endingStep, type StepObserver } from "../../../core/operation/index.ts";
import { isScope } from "../../../core/sandbox/index.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  killCgroup,
  oomKills,
  oomKillsOfGone,
  removeCgroup,
} from "../../../linux/cgroup/index.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { removeTrees } from "../../../linux/file/index.ts";
import { unmount } from "../../../linux/mount/index.ts";
import { removeYards, restoreMounts } from "../checkpoint/restore-mounts.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";
import { callRuntime, runtimeStep } from "../runtime-command.ts";

/** How long a verb of the OCI runtime may take where no caller's deadline applies. */
export const verbMs = 10_000;

/** Removes a container whose process has ended or whose start failed half-way, and finds out about its OOM kills. */
export class ContainerCleanup {
  readonly #cgroups: CgroupLayout;
  readonly #log: Logger;
  readonly #onStep: StepObserver | undefined;
  readonly #paths: StateLayout;
  /** By slice: how many kills of oomKillsOfGone() have been attributed to containers. */
  readonly #attributed = new Map<string, number>();
  /** By cgroup: the kills of a container that is being removed. Its slice counts them once the cgroup is gone. */
  readonly #removing = new Map<string, number>();
  /** Scopes of containers that were killed for an unknown reason: their slice's kills may be another's. */
  readonly #unexplained = new Set<string>();

  constructor(
    deps: {
      readonly cgroups: CgroupLayout;
      readonly log: Logger;
      readonly onStep?: StepObserver;
    },
    paths: StateLayout,
  ) {
    this.#onStep = deps.onStep;
    this.#cgroups = deps.cgroups;
    this.#log = deps.log;
    this.#paths = paths;
  }

  /** Runs a verb of the container's OCI runtime; see callRuntime. */
  call(
    state: RuntimeState,
    args: readonly string[],
    options: {
      readonly input?: string;
      readonly env?: Readonly<Record<string, string>>;
      readonly signal?: AbortSignal;
      readonly timeoutMs?: number;
    } = {},
  ): Promise<void> {
    const root = this.#paths.runtimeRoot(state.runtimePath);
    const end = runtimeStep(this.#onStep, args[0] ?? "", state.runtimePath);
    return endingStep(end, callRuntime({ ...state, root, args, timeoutMs: verbMs, ...options }));
  }

  /**
   * Whether the container ran out of memory; to be called before destroy(). A mark in the bundle
   * records it for a later daemon, for which the cgroup is gone; monitors leave the same mark. systemd may have
   * removed a scope before either has read it: then the container ran out of memory if its slice counts one more
   * kill than was attributed. For a container without a limit of its own that is not conclusive, since the kill may
   * belong to a container that is checked later. `killed`: we have killed it, which explains its SIGKILL.
   */
  async ranOutOfMemory(
    id: string,
    state: RuntimeState,
    end: { readonly exitCode: number; readonly killed: boolean },
  ): Promise<boolean> {
    const mark = this.#paths.file(id, "oom");
    const counted = await oomKills(this.#cgroups, state.cgroupPath);
    if (counted !== undefined) {
      if (counted === 0) return false;
      if (isScope(state.cgroupPath)) this.#removing.set(state.cgroupPath, counted);
      // Without the mark, as on a full disk, only a later daemon misses the kill.
      await writeFile(mark, "").catch(() => undefined);
      return true;
    }
    try {
      await access(mark);
      return true;
    } catch {
      if (end.exitCode !== 137 || end.killed) return false;
      if (!(await this.#isUnlimited(id))) return this.#hasSliceCounted(state);
      this.#unexplained.add(state.cgroupPath);
      return false;
    }
  }

  async #isUnlimited(id: string): Promise<boolean> {
    try {
      const { linux } = JSON.parse(await readFile(this.#paths.file(id, "config.json"), "utf8")) as {
        readonly linux?: { readonly resources?: { readonly memory?: { readonly limit?: number } } };
      };
      return (linux?.resources?.memory?.limit ?? 0) <= 0;
    } catch {
      return false;
    }
  }

  /** The slice's kills before the start, for ranOutOfMemory(); nothing without systemd. */
  async oomKillsBefore(cgroupPath: string): Promise<Pick<RuntimeState, "oomKillsBefore">> {
    if (!isScope(cgroupPath)) return {};
    const oomKillsBefore = await oomKillsOfGone(this.#cgroups, dirname(cgroupPath));
    return oomKillsBefore === undefined ? {} : { oomKillsBefore };
  }

  async #hasSliceCounted({ cgroupPath, oomKillsBefore }: RuntimeState): Promise<boolean> {
    if (oomKillsBefore === undefined) return false;
    const slice = dirname(cgroupPath);
    const kills = (await oomKillsOfGone(this.#cgroups, slice)) ?? 0;
    const attributed = Math.max(oomKillsBefore, this.#attributed.get(slice) ?? 0);
    const gone = [...this.#removing].filter(
      ([path]) => dirname(path) === slice && !this.#exists(path),
    );
    if (kills <= gone.reduce((sum, [, count]) => sum + count, attributed)) return false;
    // This kill is the container's and counts for no other.
    this.#attributed.set(slice, attributed + 1);
    return true;
  }

  /** Attributes the slice's kills after the end of a container, so that they count for no other. */
  async #attributeKills({ cgroupPath }: RuntimeState): Promise<void> {
    if (!isScope(cgroupPath) || this.#unexplained.delete(cgroupPath)) return;
    const slice = dirname(cgroupPath);
    const kills = await oomKillsOfGone(this.#cgroups, slice);
    this.#removing.delete(cgroupPath);
    if (kills === undefined || kills === 0) this.#attributed.delete(slice);
    else this.#attributed.set(slice, kills);
  }

  /**
   * Ends all processes and removes the cgroup and the runtime's own files. Idempotent. Rejects
   * with `deadline-exceeded` when a process does not die.
   */
  async destroy(id: string, state: RuntimeState, timeoutMs: number): Promise<void> {
    await killCgroup(this.#cgroups, state.cgroupPath, { timeoutMs });
    // Before the cgroup is removed: the runtime also ends a process that was moved out of it.
    await this.deleteState(id, state, timeoutMs);
    await this.#removeCgroup(state);
  }

  /** After the end of the container's first process: ends the others and removes the cgroup. */
  async endProcesses(state: RuntimeState, timeoutMs: number): Promise<void> {
    try {
      await killCgroup(this.#cgroups, state.cgroupPath, { timeoutMs });
      await this.#removeCgroup(state);
    } finally {
      await this.#attributeKills(state);
    }
  }

  /** Has the runtime run the poststop hooks and delete its own state of the container. */
  async deleteState(id: string, state: RuntimeState, timeoutMs: number): Promise<void> {
    const own = join(this.#paths.runtimeRoot(state.runtimePath), id);
    try {
      // NOTE(runc): it removes its directory of the container with all that a restore that was interrupted has mounted
      // there, which would be the files of the container.
      if (existsSync(join(own, "criu-root"))) {
        await unmount(...restoreMounts(this.#paths, id, state.runtimePath));
      }
      await this.call(state, ["delete", "--force", id], { timeoutMs });
    } catch (error) {
      // Its files are removed below anyway.
      this.#log.warn(`container "${id}": ${messageOf(error)}`);
    }
    if (existsSync(own)) await this.#removeTrees([own], id, state.runtimePath);
  }

  /** A daemon that died during a reopen of the log, or a restore, has left mounts in them. */
  async #removeTrees(paths: readonly string[], id: string, runtimePath?: string): Promise<void> {
    try {
      await removeTrees(paths);
    } catch (error) {
      if (!["EBUSY", "EXDEV"].includes(errnoCode(error) ?? "")) throw error;
      const { endOffer } = await import("../conmon/log-links.ts");
      await endOffer(this.#paths, id);
      await unmount(...restoreMounts(this.#paths, id, runtimePath));
      await removeYards(this.#paths.bundle(id));
      await removeTrees(paths);
    }
  }

  async #removeCgroup({ cgroupPath }: RuntimeState): Promise<void> {
    if (this.#exists(cgroupPath)) await removeCgroup(this.#cgroups, cgroupPath);
  }

  #exists(cgroupPath: string): boolean {
    return cgroupDirs(this.#cgroups, cgroupPath).some((dir) => existsSync(dir));
  }

  /** Removes the bundle last: it shows a later daemon that something is left. */
  async removeFiles(id: string): Promise<void> {
    await this.#removeTrees([this.#paths.exit(id), this.#paths.bundle(id)], id);
  }
}
