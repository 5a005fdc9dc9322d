import { existsSync } from "node:fs";
import { access, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
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
import { removeTree, removeTrees } from "../../../linux/file/index.ts";
import type { RuntimeState } from "../runtime-state.ts";
import { endOffer } from "../conmon/log-links.ts";
import type { StateLayout } from "../state-layout.ts";
import { callRuntime } from "../runtime-command.ts";

/** How long a verb of the OCI runtime may take that no caller's deadline bounds. */
export const verbMs = 10_000;

/** What is left of a container when its process has ended, or when its start failed half-way. */
export class ContainerCleanup {
  readonly #cgroups: CgroupLayout;
  readonly #log: Logger;
  readonly #places: StateLayout;
  /** By slice, how many of what oomKillsOfGone() says are known to be some container's. */
  readonly #told = new Map<string, number>();
  /** By cgroup, the kills of a container that is being cleared away: its slice has them as soon as it is gone. */
  readonly #ending = new Map<string, number>();
  /** Scopes of containers that were killed, nobody knows by whom: their slice's kills may be another's. */
  readonly #unsure = new Set<string>();

  constructor(deps: { readonly cgroups: CgroupLayout; readonly log: Logger }, places: StateLayout) {
    this.#cgroups = deps.cgroups;
    this.#log = deps.log;
    this.#places = places;
  }

  /** Runs a verb of the container's OCI runtime; see callRuntime. */
  call(
    facts: RuntimeState,
    args: readonly string[],
    options: {
      readonly input?: string;
      readonly signal?: AbortSignal;
      readonly timeoutMs?: number;
    } = {},
  ): Promise<void> {
    const root = this.#places.runtimeRoot(facts.runtimePath);
    return callRuntime({ ...facts, root, args, timeoutMs: verbMs, ...options });
  }

  /**
   * Whether the container ran out of memory; to be asked before destroy(). A mark in the bundle
   * tells it to a later daemon, for which the cgroup is gone; conmon leaves the same one. A scope
   * systemd may have dropped before either has read it: then the count of its slice tells, which has
   * grown by one that is nobody's; of a container without a limit of its own it tells nothing, since
   * others may be yet to be asked for. `killed`: we have ended it ourselves, so that its SIGKILL needs
   * no other reason.
   */
  async ranOutOfMemory(
    id: string,
    facts: RuntimeState,
    end: { readonly exitCode: number; readonly killed: boolean },
  ): Promise<boolean> {
    const mark = this.#places.file(id, "oom");
    const counted = await oomKills(this.#cgroups, facts.cgroupPath);
    if (counted !== undefined) {
      if (counted === 0) return false;
      if (isScope(facts.cgroupPath)) this.#ending.set(facts.cgroupPath, counted);
      // On a full disk a later daemon does not hear of it; this one still tells it.
      await writeFile(mark, "").catch(() => undefined);
      return true;
    }
    try {
      await access(mark);
      return true;
    } catch {
      if (end.exitCode !== 137 || end.killed) return false;
      if (!(await this.#isUnlimited(id))) return this.#hasSliceCounted(facts);
      this.#unsure.add(facts.cgroupPath);
      return false;
    }
  }

  async #isUnlimited(id: string): Promise<boolean> {
    try {
      const { linux } = JSON.parse(
        await readFile(this.#places.file(id, "config.json"), "utf8"),
      ) as {
        readonly linux?: { readonly resources?: { readonly memory?: { readonly limit?: number } } };
      };
      return (linux?.resources?.memory?.limit ?? 0) <= 0;
    } catch {
      return false;
    }
  }

  /** What ranOutOfMemory() needs to know of the time before the start; nothing without systemd. */
  async oomKillsBefore(cgroupPath: string): Promise<Pick<RuntimeState, "oomKillsBefore">> {
    if (!isScope(cgroupPath)) return {};
    const oomKillsBefore = await oomKillsOfGone(this.#cgroups, dirname(cgroupPath));
    return oomKillsBefore === undefined ? {} : { oomKillsBefore };
  }

  async #hasSliceCounted({ cgroupPath, oomKillsBefore }: RuntimeState): Promise<boolean> {
    if (oomKillsBefore === undefined) return false;
    const slice = dirname(cgroupPath);
    const kills = (await oomKillsOfGone(this.#cgroups, slice)) ?? 0;
    const told = Math.max(oomKillsBefore, this.#told.get(slice) ?? 0);
    const gone = [...this.#ending].filter(
      ([path]) => dirname(path) === slice && !this.#exists(path),
    );
    if (kills <= gone.reduce((sum, [, count]) => sum + count, told)) return false;
    // This one's: the next one needs another.
    this.#told.set(slice, told + 1);
    return true;
  }

  /** A container's kills are not the next one's. */
  async #noteKills({ cgroupPath }: RuntimeState): Promise<void> {
    if (!isScope(cgroupPath) || this.#unsure.delete(cgroupPath)) return;
    const slice = dirname(cgroupPath);
    const kills = await oomKillsOfGone(this.#cgroups, slice);
    this.#ending.delete(cgroupPath);
    if (kills === undefined || kills === 0) this.#told.delete(slice);
    else this.#told.set(slice, kills);
  }

  /**
   * Ends every process and takes away the cgroup and the runtime's own files. Idempotent. Rejects
   * with `deadline-exceeded` when a process does not die.
   */
  async destroy(id: string, facts: RuntimeState, timeoutMs: number): Promise<void> {
    await killCgroup(this.#cgroups, facts.cgroupPath, { timeoutMs });
    // Before the cgroup: the runtime also ends a process that was moved out of it.
    await this.forget(id, facts, timeoutMs);
    await this.#removeCgroup(facts);
  }

  /** After the end of the container's first process: ends the others, and takes away the cgroup. */
  async endProcesses(facts: RuntimeState, timeoutMs: number): Promise<void> {
    try {
      await killCgroup(this.#cgroups, facts.cgroupPath, { timeoutMs });
      await this.#removeCgroup(facts);
    } finally {
      await this.#noteKills(facts);
    }
  }

  /** Lets the runtime forget the container: its hooks after the end, its files. */
  async forget(id: string, facts: RuntimeState, timeoutMs: number): Promise<void> {
    try {
      await this.call(facts, ["delete", "--force", id], { timeoutMs });
    } catch (error) {
      // It runs the poststop hooks and forgets the container, which we do anyway.
      this.#log.warn(`container "${id}": ${messageOf(error)}`);
    }
    const own = join(this.#places.runtimeRoot(facts.runtimePath), id);
    if (existsSync(own)) await removeTree(own);
  }

  async #removeCgroup({ cgroupPath }: RuntimeState): Promise<void> {
    if (this.#exists(cgroupPath)) await removeCgroup(this.#cgroups, cgroupPath);
  }

  #exists(cgroupPath: string): boolean {
    return cgroupDirs(this.#cgroups, cgroupPath).some((dir) => existsSync(dir));
  }

  /** The bundle goes last: it tells a later daemon that something is left. */
  async removeFiles(id: string): Promise<void> {
    const paths = [this.#places.exit(id), this.#places.bundle(id)];
    try {
      await removeTrees(paths);
    } catch (error) {
      // A daemon that died while a log was reopened has left a mount in the bundle.
      if (errnoCode(error) !== "EBUSY") throw error;
      await endOffer(this.#places, id);
      await removeTrees(paths);
    }
  }
}
