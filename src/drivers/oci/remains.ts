import { existsSync } from "node:fs";
import { access, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { isScope } from "../../core/sandbox/index.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  killCgroup,
  oomKillsOfGone,
  ranOutOfMemory,
  removeCgroup,
} from "../../linux/index.ts";
import type { Facts } from "./facts.ts";
import type { Places } from "./places.ts";
import { callRuntime } from "./runtime-command.ts";

/** How long a verb of the OCI runtime may take that no caller's deadline bounds. */
export const verbMs = 10_000;

/** What is left of a container when its process has ended, or when its start failed half-way. */
export class Remains {
  readonly #cgroups: CgroupLayout;
  readonly #log: Logger;
  readonly #places: Places;
  /** By slice, what oomKillsOfGone() said when its last container had ended. */
  readonly #told = new Map<string, number>();

  constructor(deps: { readonly cgroups: CgroupLayout; readonly log: Logger }, places: Places) {
    this.#cgroups = deps.cgroups;
    this.#log = deps.log;
    this.#places = places;
  }

  /** Runs a verb of the container's OCI runtime; see callRuntime. */
  call(
    facts: Facts,
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
   * grown by one that is nobody's.
   */
  async ranOutOfMemory(id: string, facts: Facts, exitCode: number): Promise<boolean> {
    const mark = this.#places.file(id, "oom");
    const counted = await ranOutOfMemory(this.#cgroups, facts.cgroupPath);
    if (counted !== undefined) {
      // On a full disk a later daemon does not hear of it; this one still tells it.
      if (counted) await writeFile(mark, "").catch(() => undefined);
      return counted;
    }
    try {
      await access(mark);
      return true;
    } catch {
      return exitCode === 137 && (await this.#hasSliceCounted(facts));
    }
  }

  /** What ranOutOfMemory() needs to know of the time before the start; nothing without systemd. */
  async oomKillsBefore(cgroupPath: string): Promise<Pick<Facts, "oomKillsBefore">> {
    if (!isScope(cgroupPath)) return {};
    const oomKillsBefore = await oomKillsOfGone(this.#cgroups, dirname(cgroupPath));
    return oomKillsBefore === undefined ? {} : { oomKillsBefore };
  }

  async #hasSliceCounted({ cgroupPath, oomKillsBefore }: Facts): Promise<boolean> {
    if (oomKillsBefore === undefined) return false;
    const slice = dirname(cgroupPath);
    const before = Math.max(oomKillsBefore, this.#told.get(slice) ?? 0);
    return ((await oomKillsOfGone(this.#cgroups, slice)) ?? 0) > before;
  }

  /** A container's kills are not the next one's. */
  async #noteKills({ cgroupPath }: Facts): Promise<void> {
    if (!isScope(cgroupPath)) return;
    const slice = dirname(cgroupPath);
    const kills = await oomKillsOfGone(this.#cgroups, slice);
    if (kills === undefined || kills === 0) this.#told.delete(slice);
    else this.#told.set(slice, kills);
  }

  /**
   * Ends every process and takes away the cgroup and the runtime's own files. Idempotent. Rejects
   * with `deadline-exceeded` when a process does not die.
   */
  async destroy(id: string, facts: Facts, timeoutMs: number): Promise<void> {
    await killCgroup(this.#cgroups, facts.cgroupPath, { timeoutMs });
    // Before the cgroup: the runtime also ends a process that was moved out of it.
    await this.forget(id, facts, timeoutMs);
    await this.#removeCgroup(facts);
  }

  /** After the end of the container's first process: ends the others, and takes away the cgroup. */
  async endProcesses(facts: Facts, timeoutMs: number): Promise<void> {
    await killCgroup(this.#cgroups, facts.cgroupPath, { timeoutMs });
    await this.#removeCgroup(facts);
    await this.#noteKills(facts);
  }

  /** Lets the runtime forget the container: its hooks after the end, its files. */
  async forget(id: string, facts: Facts, timeoutMs: number): Promise<void> {
    try {
      await this.call(facts, ["delete", "--force", id], { timeoutMs });
    } catch (error) {
      // It runs the poststop hooks and forgets the container, which we do anyway.
      this.#log.warn(`container "${id}": ${messageOf(error)}`);
    }
    const own = join(this.#places.runtimeRoot(facts.runtimePath), id);
    if (existsSync(own)) await rm(own, { recursive: true, force: true });
  }

  async #removeCgroup({ cgroupPath }: Facts): Promise<void> {
    const dirs = cgroupDirs(this.#cgroups, cgroupPath);
    if (dirs.some((dir) => existsSync(dir))) await removeCgroup(this.#cgroups, cgroupPath);
  }

  /** The bundle goes last: it tells a later daemon that something is left. */
  async removeFiles(id: string): Promise<void> {
    await rm(this.#places.exit(id), { force: true });
    await rm(this.#places.bundle(id), { recursive: true, force: true });
  }
}
