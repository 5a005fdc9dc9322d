import { randomInt } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Usage } from "../../core/snapshot/index.ts";
import {
  beginProject,
  endProject,
  enforcesProjects,
  projectsOf,
  projectUsage,
} from "../../linux/file/index.ts";

import { GONE_PREFIX } from "./state-layout.ts";

/** How many ids, from the first one on, are for containers. */
const projectCount = 2 ** 20;
/** How many ids are tried, and how many of them in turn: then by chance. */
const [maxTries, maxInTurn] = [64, 8];

/**
 * Limits of writable layers, by project quotas of their file system. The root of a container with a limit is a
 * project of its own. Which one it is, the directory itself tells, so nothing is recorded.
 *
 * Ids are used in turn. One that has a limit or files is skipped: it belongs to others, or to a root whose files
 * are being deleted.
 */
export class LayerLimits {
  readonly #roots: string;
  readonly #first: number;
  readonly #log: Logger;
  /** By container. */
  readonly #projects: Map<string, number>;
  #next: number;

  private constructor(roots: string, first: number, log: Logger, projects: Map<string, number>) {
    this.#roots = roots;
    this.#first = first;
    this.#log = log;
    this.#projects = projects;
    const used = [...projects.values()].filter((id) => id >= first && id < first + projectCount);
    this.#next = Math.max(first, ...used.map((id) => id + 1));
  }

  /**
   * The limits of the roots in a directory, with ids from `first` on; undefined, with a warning, where the file system
   * has none.
   */
  static async open(roots: string, first: number, log: Logger): Promise<LayerLimits | undefined> {
    const obstacle = await obstacleOf(roots);
    if (obstacle !== undefined) {
      log.warn(
        `writable layers have no limit, although writable_layer_limit is set: ${obstacle}; mount the file system with the option prjquota`,
        { directory: roots },
      );
      return undefined;
    }
    const names = await readdir(roots);
    const ids = await projectsOf(names.map((name) => join(roots, name)));
    const projects = names.flatMap((name, at) => {
      const id = ids[at] ?? 0;
      return id >= first && id < first + projectCount ? ([[name, id]] as const) : [];
    });
    const limits = new LayerLimits(roots, first, log, new Map(projects));
    const gone = names.filter((name) => name.startsWith(GONE_PREFIX));
    for (const name of gone) await limits.end(name);
    return limits;
  }

  /** Limits the files that will be made in these directories of a container. Bytes, at least 1. */
  async begin(containerId: string, bytes: number, directories: readonly string[]): Promise<void> {
    const kib = Math.max(1, Math.ceil(bytes / 1024));
    for (let tries = 0; tries < maxTries; tries++) {
      // Containers can give ids to their files: many in a row may be taken.
      const id = tries < maxInTurn ? this.#next : this.#first + randomInt(projectCount);
      this.#next = id + 1 < this.#first + projectCount ? id + 1 : this.#first;
      if (!(await beginProject(id, kib, directories))) continue;
      this.#projects.set(containerId, id);
      return;
    }
    throw new RuntimeError(
      "resource-exhausted",
      `limit writable layer: ${maxTries} project ids, also by chance, belong to others; set runtime.writable_layer_first_project to the first of ${projectCount} free ones`,
    );
  }

  /** What the root of a container takes, from the file system's own books; undefined for one without a limit. */
  async usage(containerId: string): Promise<Usage | undefined> {
    const id = this.#projects.get(containerId);
    return id === undefined ? undefined : await projectUsage(this.#roots, id);
  }

  /** Gives up the limit of a removed root. Its id is used again when its files are deleted. */
  async end(containerId: string): Promise<void> {
    const id = this.#projects.get(containerId);
    if (id === undefined) return;
    this.#projects.delete(containerId);
    try {
      await endProject(this.#roots, id);
    } catch (cause) {
      this.#log.warn(`project ${id} keeps the limit of a removed container: ${messageOf(cause)}`);
    }
  }
}

async function obstacleOf(roots: string): Promise<string | undefined> {
  try {
    return (await enforcesProjects(roots)) ? undefined : "project quotas are not enforced there";
  } catch (cause) {
    return `there are no project quotas (${messageOf(cause)})`;
  }
}
