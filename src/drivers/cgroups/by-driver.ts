import type { CgroupResources, PodCgroup, PodCgroups } from "../../core/sandbox/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import { FsPodCgroups } from "./pod-cgroups.ts";
import { SystemdPodCgroups } from "./systemd-pod-cgroups.ts";

/**
 * Pod cgroups by the configured driver for new pods, and for each existing pod by the driver that it was
 * created with: the setting may have changed since.
 */
export class PodCgroupsByDriver implements PodCgroups {
  readonly #fs: FsPodCgroups;
  readonly #systemd: SystemdPodCgroups;
  readonly #driver: "cgroupfs" | "systemd";

  constructor(layout: CgroupLayout, driver: "cgroupfs" | "systemd") {
    this.#fs = new FsPodCgroups(layout);
    this.#systemd = new SystemdPodCgroups(layout);
    this.#driver = driver;
  }

  plan(parent: string, id: string, others: readonly PodCgroup[]): PodCgroup {
    return this.#driver === "systemd"
      ? this.#systemd.plan(parent, id, others)
      : this.#fs.plan(parent, id, others);
  }

  check(resources: Parameters<PodCgroups["check"]>[0]): void {
    this.#fs.check(resources);
  }

  prepare(cgroup: PodCgroup, resources: CgroupResources | undefined): Promise<void> {
    return this.#of(cgroup).prepare(cgroup, resources);
  }

  update(cgroup: PodCgroup, resources: CgroupResources): Promise<() => Promise<void>> {
    return this.#of(cgroup).update(cgroup, resources);
  }

  remove(
    cgroup: PodCgroup,
    listOthers: () => readonly PodCgroup[],
    signal: AbortSignal,
  ): Promise<void> {
    return this.#of(cgroup).remove(cgroup, listOthers, signal);
  }

  async sweep(ids: Iterable<string>): Promise<readonly string[]> {
    const all = [...ids];
    return [...(await this.#fs.sweep(all)), ...(await this.#systemd.sweep(all))];
  }

  #of({ driver }: PodCgroup): FsPodCgroups | SystemdPodCgroups {
    return driver === "systemd" ? this.#systemd : this.#fs;
  }
}
