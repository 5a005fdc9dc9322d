import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { PodCgroup, PodLabels, Sandbox } from "./sandbox.ts";

/** Whether pinned namespaces still exist, from memory. */
export interface NamespaceStates {
  /** True while `path` is a namespace mount. False for a path that is not watched. */
  isOpen(path: string): boolean;
}

/** Limits as in the CRI (LinuxContainerResources). An absent or zero limit is not changed. */
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

/** The cgroups of pods, in all hierarchies of this host. */
export interface PodCgroups {
  /**
   * Plans the cgroup of a pod. The pod owns nothing if `parent` exists, else the topmost missing
   * cgroup. Cgroups that davit created for one of the `others` are owned by this pod as well. An empty
   * parent becomes a cgroup of davit's own for sandbox `id`. `invalid-argument` for a path that leaves
   * the hierarchy.
   */
  plan(parent: string, id: string, others: readonly PodCgroup[]): PodCgroup;
  /** Creates the cgroups that the plan owns and writes `resources`. Does nothing if it owns none. */
  prepare(cgroup: PodCgroup, resources: CgroupResources | undefined): Promise<void>;
  /** Throws `invalid-argument`, with field and value, for limits that make no sense. */
  check(resources: LinuxContainerResources): void;
  /**
   * Writes limits to a parent that davit created; does nothing for one that existed before. Writes all
   * of them or, when it rejects, none. The result restores the former limits.
   */
  update(cgroup: PodCgroup, resources: CgroupResources): Promise<() => Promise<void>>;
  /**
   * Removes the cgroups that the plan owns, except those that the `others` use. `others` is called
   * while no other cgroup is created or removed. Idempotent.
   */
  remove(cgroup: PodCgroup, others: () => readonly PodCgroup[], signal: AbortSignal): Promise<void>;
  /**
   * Removes the parents that davit created for these sandboxes, and kills the processes in them.
   * Returns a line for each. Others are not touched, because daemons of this host share the hierarchies.
   */
  sweep(ids: Iterable<string>): Promise<readonly string[]>;
}

/** Assigns SELinux labels to pods. */
export interface PodLabeller {
  /**
   * The labels of a new pod. Their level differs from those of the `others`, unless the config has one.
   * `invalid-argument` for labels that the policy of the host does not have.
   */
  choose(config: Sandbox["config"], others: Iterable<Sandbox>): PodLabels;
}
