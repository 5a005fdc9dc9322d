import { existsSync } from "node:fs";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { CgroupResources, PodCgroup, PodCgroups } from "../../core/sandbox/index.ts";
import {
  type CgroupLayout,
  createCgroup,
  killCgroup,
  assertLimitAboveUsage,
  removeCgroup,
  removeEmptyCgroup,
  writeResources,
} from "../../linux/cgroup/index.ts";
import { checkResources } from "../../oci-spec/index.ts";

/** Parent of the cgroups of pods without a cgroup_parent. */
const ownRoot = "/davit";

/**
 * Pod cgroups by cgroupfs, v1 and v2.
 *
 * kubelet creates a pod's cgroup before it requests the sandbox, sets its limits and removes it. For clients
 * that leave that to the runtime, davit creates one and owns it.
 */
export class FsPodCgroups implements PodCgroups {
  readonly #layout: CgroupLayout;
  readonly #roots: readonly string[];
  /**
   * Held while a cgroup is created in `/davit` or `/davit` may be removed. Another daemon on this host may do
   * both at any time; linux/cgroup/tree.ts handles that.
   */
  readonly #lock = new KeyedLock();

  constructor(layout: CgroupLayout) {
    this.#layout = layout;
    this.#roots =
      layout.version === "v2"
        ? [layout.root]
        : layout.hierarchies.map((hierarchy) => hierarchy.path);
  }

  plan(parent: string, id: string, others: readonly PodCgroup[]): PodCgroup {
    const path = parent === "" ? `${ownRoot}/${id}` : normalPath(parent);
    const steps = path.split("/").filter((step) => step !== "");
    for (let depth = 1; depth <= steps.length; depth++) {
      const upTo = `/${steps.slice(0, depth).join("/")}`;
      const owner = others.find((other) => isOwned(other, upTo));
      if (owner !== undefined) return { parent: path, ownedFrom: owner.ownedFrom };
      if (upTo !== ownRoot && !this.#exists(upTo)) return { parent: path, ownedFrom: upTo };
    }
    return { parent: path, ownedFrom: undefined };
  }

  async prepare(cgroup: PodCgroup, resources: CgroupResources | undefined): Promise<void> {
    if (cgroup.ownedFrom === undefined) return;
    {
      using _turn = await this.#lock.acquire(ownRoot);
      await createCgroup(this.#layout, cgroup.parent);
    }
    if (resources !== undefined) await writeResources(this.#layout, cgroup.parent, resources);
  }

  check(resources: Parameters<PodCgroups["check"]>[0]): void {
    checkResources(resources, this.#layout.version === "v2" ? 2 : 1);
  }

  async update(cgroup: PodCgroup, resources: CgroupResources): Promise<() => Promise<void>> {
    if (cgroup.ownedFrom === undefined) return () => Promise.resolve();
    await assertLimitAboveUsage(this.#layout, cgroup.parent, resources.memoryLimitBytes ?? 0n);
    return writeResources(this.#layout, cgroup.parent, resources);
  }

  async remove(
    cgroup: PodCgroup,
    listOthers: () => readonly PodCgroup[],
    signal: AbortSignal,
  ): Promise<void> {
    const { parent, ownedFrom } = cgroup;
    if (ownedFrom === undefined) return;
    using _turn = await this.#lock.acquire(ownRoot, signal);
    const others = listOthers();
    if (others.some((other) => isWithin(other.parent, parent))) return;
    await beforeAbort(removeCgroup(this.#layout, parent), signal);
    // The cgroups in between: another pod may have its cgroup below them, and then they stay.
    for (let path = parent; path !== ownedFrom && isWithin(path, ownedFrom); ) {
      path = path.slice(0, path.lastIndexOf("/"));
      if (others.some((other) => isWithin(other.parent, path))) return;
      await removeEmptyCgroup(this.#layout, path);
    }
    if (parent.startsWith(`${ownRoot}/`)) await removeEmptyCgroup(this.#layout, ownRoot);
  }

  async sweep(ids: Iterable<string>): Promise<readonly string[]> {
    const swept: string[] = [];
    for (const id of ids) {
      const path = `${ownRoot}/${id}`;
      if (!this.#exists(path)) continue;
      await killCgroup(this.#layout, path);
      await removeCgroup(this.#layout, path);
      swept.push(`cgroup ${path}`);
    }
    if (swept.length > 0) {
      using _turn = await this.#lock.acquire(ownRoot);
      await removeEmptyCgroup(this.#layout, ownRoot);
    }
    return swept;
  }

  #exists(path: string): boolean {
    return this.#roots.some((root) => existsSync(join(root, path)));
  }
}

/** True when `path` is `ancestor` or below it. */
export function isWithin(path: string, ancestor: string): boolean {
  return path === ancestor || path.startsWith(`${ancestor}/`);
}

/** True when davit created the cgroup at `path` for this pod. */
function isOwned({ parent, ownedFrom }: PodCgroup, path: string): boolean {
  return ownedFrom !== undefined && isWithin(path, ownedFrom) && isWithin(parent, path);
}

function normalPath(parent: string): string {
  const steps = parent.split("/").filter((step) => step !== "");
  if (steps.length === 0 || steps.includes("..") || steps.includes(".")) {
    throw new RuntimeError(
      "invalid-argument",
      `prepare pod cgroup: cgroup_parent must name a cgroup below the root, got ${JSON.stringify(parent)}`,
    );
  }
  return `/${steps.join("/")}`;
}
