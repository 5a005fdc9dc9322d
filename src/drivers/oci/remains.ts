import { existsSync } from "node:fs";
import { access, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  killCgroup,
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
   * tells it to a later daemon, for which the cgroup is gone; conmon leaves the same one.
   */
  async ranOutOfMemory(id: string, cgroupPath: string): Promise<boolean> {
    const mark = this.#places.file(id, "oom");
    const counted = await ranOutOfMemory(this.#cgroups, cgroupPath);
    if (counted !== undefined) {
      // On a full disk a later daemon does not hear of it; this one still tells it.
      if (counted) await writeFile(mark, "").catch(() => undefined);
      return counted;
    }
    try {
      await access(mark);
      return true;
    } catch {
      return false;
    }
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
