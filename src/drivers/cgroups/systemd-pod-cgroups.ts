import { existsSync } from "node:fs";
import { basename } from "node:path";
import { isKind } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { beforeAbort } from "../../base/wait.ts";
import {
  type CgroupResources,
  type PodCgroup,
  type PodCgroups,
  slicePath,
} from "../../core/sandbox/index.ts";
import {
  syncLimitsToSystemd,
  type CallSystemd,
  type CgroupLayout,
  callSystemd,
  cgroupDirs,
  changeSliceArgs,
  createCgroup,
  killCgroup,
  limitProperties,
  assertLimitAboveUsage,
  removeCgroup,
  startSliceArgs,
  stopSliceArgs,
  writeResources,
} from "../../linux/cgroup/index.ts";
import { isWithin } from "./pod-cgroups.ts";

/**
 * Pod cgroups that are systemd's slices.
 *
 * kubelet starts a pod's slice before it requests the sandbox. For clients that leave that to the runtime,
 * davit starts `davit-<id>.slice` and owns it; systemd manages its parent slices.
 */
export class SystemdPodCgroups implements Omit<PodCgroups, "check"> {
  readonly #layout: CgroupLayout;
  readonly #call: CallSystemd;
  /** By slice: held while a pod is added to it, while it is written and while it is removed. */
  readonly #lock = new KeyedLock();

  constructor(layout: CgroupLayout, call: CallSystemd = callSystemd) {
    this.#layout = layout;
    this.#call = call;
  }

  plan(parent: string, id: string, others: readonly PodCgroup[]): PodCgroup {
    const path = slicePath(parent === "" ? ownSlice(id) : parent);
    const isOurs = others.some((other) => other.ownedFrom === path);
    const ownedFrom = isOurs || !this.#exists(path) ? path : undefined;
    return { parent: path, ownedFrom, driver: "systemd" };
  }

  async prepare(cgroup: PodCgroup, resources: CgroupResources | undefined): Promise<void> {
    const { parent, ownedFrom } = cgroup;
    if (ownedFrom === undefined) return;
    using _turn = await this.#lock.acquire(parent);
    // Another pod of davit may have started it.
    if (this.#exists(parent)) return;
    const properties = limitProperties(resources ?? {}, this.#layout.version);
    await this.#call(startSliceArgs(basename(parent), properties));
    // systemd answers before it has created the cgroup, and does not enable controllers that it has no
    // property for.
    await createCgroup(this.#layout, parent);
    if (resources !== undefined) await writeResources(this.#layout, parent, resources);
  }

  async update(cgroup: PodCgroup, resources: CgroupResources): Promise<() => Promise<void>> {
    const { parent, ownedFrom } = cgroup;
    if (ownedFrom === undefined) return () => Promise.resolve();
    using _turn = await this.#lock.acquire(parent);
    await assertLimitAboveUsage(this.#layout, parent, resources.memoryLimitBytes ?? 0n);
    const takeBack = await this.#write(parent, resources);
    const properties = limitProperties(resources, this.#layout.version);
    if (properties.length === 0) return () => this.#inTurn(parent, takeBack);
    try {
      await this.#call(changeSliceArgs(basename(parent), properties));
    } catch (error) {
      await takeBack();
      throw error;
    }
    return () =>
      this.#inTurn(parent, async () => {
        await takeBack();
        await syncLimitsToSystemd(this.#layout, parent, this.#call);
      });
  }

  async remove(
    cgroup: PodCgroup,
    listOthers: () => readonly PodCgroup[],
    signal: AbortSignal,
  ): Promise<void> {
    const { parent, ownedFrom } = cgroup;
    if (ownedFrom === undefined) return;
    using _turn = await this.#lock.acquire(parent, signal);
    if (listOthers().some((other) => isWithin(other.parent, parent))) return;
    await beforeAbort(this.#end(parent), signal);
  }

  async sweep(ids: Iterable<string>): Promise<readonly string[]> {
    const swept: string[] = [];
    for (const id of ids) {
      if (!/^[0-9a-f]{64}$/.test(id)) continue;
      const path = slicePath(ownSlice(id));
      if (!this.#exists(path)) continue;
      await killCgroup(this.#layout, path);
      await this.#end(path);
      swept.push(`slice ${basename(path)}`);
    }
    return swept;
  }

  async #end(path: string): Promise<void> {
    try {
      await this.#call(stopSliceArgs(basename(path)));
    } catch (error) {
      if (!isKind(error, "not-found")) throw error;
    }
    if (this.#exists(path)) await removeCgroup(this.#layout, path);
  }

  /** Writes the limits without a systemd property, and on v1 all. A slice without processes may have no cgroup yet. */
  async #write(path: string, resources: CgroupResources): Promise<() => Promise<void>> {
    if (!this.#exists(path)) return () => Promise.resolve();
    return writeResources(this.#layout, path, resources);
  }

  async #inTurn(slice: string, work: () => Promise<void>): Promise<void> {
    using _turn = await this.#lock.acquire(slice);
    await work();
  }

  #exists(path: string): boolean {
    return cgroupDirs(this.#layout, path).some((dir) => existsSync(dir));
  }
}

function ownSlice(id: string): string {
  return `davit-${id}.slice`;
}
