import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { PodCgroup, PodLabels, Sandbox } from "./sandbox.ts";

/** Whether pinned namespaces are still there, from memory. */
export interface NamespaceStates {
  /** True while `path` is a namespace mount. A path that nobody watches counts as closed. */
  isOpen(path: string): boolean;
}

/** Limits as the CRI gives them (LinuxContainerResources); absent and zero mean "leave it". */
export interface CgroupResources {
  readonly cpuPeriod?: bigint;
  readonly cpuQuota?: bigint;
  readonly cpuShares?: bigint;
  readonly memoryLimitBytes?: bigint;
  readonly memorySwapLimitBytes?: bigint;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limitBytes: bigint }[];
  readonly unified?: Readonly<Record<string, string>>;
}

/** The cgroups of pods, in every hierarchy that this host has. */
export interface PodCgroups {
  /**
   * What preparing `parent` would own: nothing when it exists, else the topmost missing cgroup; of
   * what davit made for one of the `others`, this pod is an owner, too. An empty parent becomes one
   * of davit's own for sandbox `id`. `invalid-argument` for a path that could leave the hierarchy.
   */
  plan(parent: string, id: string, others: readonly PodCgroup[]): PodCgroup;
  /** Makes what the plan owns, with `resources` in it; nothing when it owns nothing. */
  prepare(cgroup: PodCgroup, resources: CgroupResources | undefined): Promise<void>;
  /** Refuses limits that cannot be meant: `invalid-argument`, naming field and value. */
  check(resources: LinuxContainerResources): void;
  /**
   * Writes limits to a parent that davit made; nothing to one that was there before. All of them or,
   * when it rejects, none. The result takes them back.
   */
  update(cgroup: PodCgroup, resources: CgroupResources): Promise<() => Promise<void>>;
  /**
   * Removes what the plan owned, but for what the `others` live in, which are asked for when nobody
   * makes or removes a cgroup beside this. Idempotent.
   */
  remove(cgroup: PodCgroup, others: () => readonly PodCgroup[], signal: AbortSignal): Promise<void>;
  /**
   * Removes the parents that davit itself made for these sandboxes, with every process in them; a
   * line for each. Only these: the hierarchies are shared with other daemons of this host.
   */
  sweep(ids: Iterable<string>): Promise<readonly string[]>;
}

/** Gives pods their SELinux labels. */
export interface PodLabeller {
  /**
   * Labels for a new pod, with a level that none of the `others` has unless the config names one.
   * `invalid-argument` for labels that the host's policy does not have.
   */
  choose(config: Sandbox["config"], others: Iterable<Sandbox>): PodLabels;
}
