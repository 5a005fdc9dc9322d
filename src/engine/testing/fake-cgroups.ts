import { RuntimeError } from "../../base/errors.ts";
import type { CgroupResources, PodCgroup, PodCgroups } from "../../core/sandbox/index.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { FakeHost } from "./fake-host.ts";
import { Trouble } from "./trouble.ts";

/** Pod cgroups in memory. A parent that the request names is kubelet's; the others are davit's own. */
export class FakeCgroups implements PodCgroups {
  readonly trouble = new Trouble<"prepare" | "update" | "remove" | "sweep">();
  readonly #host: FakeHost;
  readonly #limits = new Map<string, CgroupResources | undefined>();

  constructor(host: FakeHost) {
    this.#host = host;
  }

  /** The limits that were written to a cgroup. */
  limitsOf(parent: string): CgroupResources | undefined {
    return this.#limits.get(parent);
  }

  plan(parent: string, id: string): PodCgroup {
    if (parent !== "") return { parent, ownedFrom: undefined };
    return { parent: `/davit/${id}`, ownedFrom: `/davit/${id}` };
  }

  async prepare(cgroup: PodCgroup, resources: CgroupResources | undefined): Promise<void> {
    if (cgroup.ownedFrom !== undefined) {
      this.#host.make("cgroup", idOf(cgroup));
      this.#limits.set(cgroup.parent, resources);
    }
    await this.trouble.at("prepare");
  }

  check({ memoryLimitInBytes }: LinuxContainerResources): void {
    if (memoryLimitInBytes >= 0n) return;
    throw new RuntimeError(
      "invalid-argument",
      `check resources: memory_limit_in_bytes is ${memoryLimitInBytes}`,
    );
  }

  async update(cgroup: PodCgroup, resources: CgroupResources): Promise<() => Promise<void>> {
    await this.trouble.at("update");
    const before = this.#limits.get(cgroup.parent);
    this.#limits.set(cgroup.parent, resources);
    return async () => {
      this.#limits.set(cgroup.parent, before);
    };
  }

  async remove(
    cgroup: PodCgroup,
    _others: () => readonly PodCgroup[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.trouble.at("remove", signal);
    if (cgroup.ownedFrom === undefined) return;
    const id = idOf(cgroup);
    // rmdir(2): EBUSY while there is a process in it.
    if (this.#host.has("holder", id)) {
      throw new RuntimeError("failed-precondition", `remove cgroup "${cgroup.parent}": it is busy`);
    }
    this.#host.remove("cgroup", id);
  }

  async sweep(ids: Iterable<string>): Promise<readonly string[]> {
    await this.trouble.at("sweep");
    const mine = [...ids].filter((id) => this.#host.has("cgroup", id));
    for (const id of mine) {
      this.#host.remove("holder", id);
      this.#host.remove("cgroup", id);
    }
    return mine.map((id) => `cgroup /davit/${id}`);
  }
}

function idOf({ parent }: PodCgroup): string {
  return parent.slice(parent.lastIndexOf("/") + 1);
}
