import type { LinuxContainerResources } from "../gen/runtime/v1/api_pb.ts";
import type { SpecHost } from "./input.ts";
import { quoted, refuseHere, refuseLimit } from "./refuse.ts";
import type { OciCpu, OciMemory, OciResources } from "../core/oci/index.ts";

/** What limits depend on of the machine. */
export type ResourceHost = Pick<SpecHost, "cgroupVersion" | "hasSwapController" | "hugepageSizes">;

/**
 * The limits of a request, for a new container's spec and for an update alike. 0 and empty mean
 * "unchanged" (api.proto, LinuxContainerResources), -1 removes a limit.
 *
 * - Swap is memory and swap together, as the CRI has it too; the OCI runtime converts it for
 *   memory.swap.max. A memory limit without one sets it equal to that: no swapping unless asked
 *   for. Dropped where the kernel does not count swap.
 * - hugepages: a limit of 0 is one (kubelet sends 0 for each size that it knows), dropped where the
 *   controller does not count that size.
 * - unified is for cgroup v2.
 *
 * `invalid-argument` as of {@link checkResources}; `failed-precondition` for a huge page size that
 * the host does not count.
 */
export function linuxResources(
  resources: LinuxContainerResources,
  host: ResourceHost,
): OciResources {
  checkResources(resources, host.cgroupVersion);
  const cpu = cpuLimits(resources);
  const memory = memoryLimits(resources, host);
  const hugepageLimits = hugepages(resources, host);
  return {
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(Object.keys(memory).length === 0 ? {} : { memory }),
    ...(hugepageLimits.length === 0 ? {} : { hugepageLimits }),
    ...(Object.keys(resources.unified).length === 0 ? {} : { unified: resources.unified }),
  };
}

function cpuLimits(resources: LinuxContainerResources): OciCpu {
  const { cpuShares, cpuQuota, cpuPeriod, cpusetCpus, cpusetMems } = resources;
  return {
    ...(cpuShares === 0n ? {} : { shares: cpuShares }),
    ...(cpuQuota === 0n ? {} : { quota: cpuQuota }),
    ...(cpuPeriod === 0n ? {} : { period: cpuPeriod }),
    ...(cpusetCpus === "" ? {} : { cpus: cpusetCpus }),
    ...(cpusetMems === "" ? {} : { mems: cpusetMems }),
  };
}

function memoryLimits(resources: LinuxContainerResources, host: ResourceHost): OciMemory {
  const { memoryLimitInBytes: limit, memorySwapLimitInBytes: swap } = resources;
  const both = swap === 0n ? limit : swap;
  return {
    ...(limit === 0n ? {} : { limit }),
    ...(both === 0n || !host.hasSwapController ? {} : { swap: both }),
  };
}

function hugepages(
  resources: LinuxContainerResources,
  host: ResourceHost,
): NonNullable<OciResources["hugepageLimits"]> {
  return resources.hugepageLimits.flatMap(({ pageSize, limit }) => {
    if (host.hugepageSizes.includes(pageSize)) return [{ pageSize, limit }];
    if (limit === 0n) return [];
    return refuseHere(
      `hugepage_limits: this node does not count pages of ${quoted(pageSize)}${host.hugepageSizes.length === 0 ? ", the hugetlb controller is missing" : `, only ${host.hugepageSizes.join(", ")}`}`,
    );
  });
}

/**
 * The resources in force after an update: what the update leaves at 0 or empty stays. Memory and
 * swap go together: a new memory limit sets its own swap limit, or none. The OOM score is that of
 * the start, since a running process keeps it (api.proto, UpdateContainerResources).
 */
export function mergedResources(
  before: LinuxContainerResources | undefined,
  update: LinuxContainerResources,
): LinuxContainerResources {
  if (before === undefined) return update;
  const newMemory = update.memoryLimitInBytes !== 0n;
  const sizes = new Set(update.hugepageLimits.map(({ pageSize }) => pageSize));
  return {
    ...before,
    cpuPeriod: update.cpuPeriod || before.cpuPeriod,
    cpuQuota: update.cpuQuota || before.cpuQuota,
    cpuShares: update.cpuShares || before.cpuShares,
    cpusetCpus: update.cpusetCpus || before.cpusetCpus,
    cpusetMems: update.cpusetMems || before.cpusetMems,
    memoryLimitInBytes: update.memoryLimitInBytes || before.memoryLimitInBytes,
    memorySwapLimitInBytes: newMemory
      ? update.memorySwapLimitInBytes
      : update.memorySwapLimitInBytes || before.memorySwapLimitInBytes,
    hugepageLimits: [
      ...before.hugepageLimits.filter(({ pageSize }) => !sizes.has(pageSize)),
      ...update.hugepageLimits,
    ],
    unified: { ...before.unified, ...update.unified },
  };
}

/** Refuses limits that the kernel would refuse later, or that contradict each other. `invalid-argument`. */
export function checkResources(resources: LinuxContainerResources, cgroupVersion: 1 | 2): void {
  checkCpu(resources);
  checkMemory(resources, cgroupVersion);
  if (resources.oomScoreAdj < -1000n || resources.oomScoreAdj > 1000n) {
    refuseLimit(`oom_score_adj must be -1000 to 1000, got ${resources.oomScoreAdj}`);
  }
  for (const { pageSize } of resources.hugepageLimits) {
    if (!/^[1-9][0-9]*(KB|MB|GB)$/.test(pageSize)) {
      refuseLimit(`hugepage_limits: page_size must be as 2MB, got ${quoted(pageSize)}`);
    }
  }
  for (const file of Object.keys(resources.unified)) {
    if (cgroupVersion === 1) refuseLimit("unified is for cgroup v2, this node has v1");
    if (!/^[a-z0-9_]+(\.[a-zA-Z0-9_]+)+$/.test(file) || file.startsWith("cgroup.")) {
      refuseLimit(`unified: ${quoted(file)} is not a resource of cgroup v2`);
    }
  }
}

function checkCpu(resources: LinuxContainerResources): void {
  const { cpuShares, cpuQuota, cpuPeriod } = resources;
  if (cpuShares < 0n) refuseLimit(`cpu_shares cannot be negative, got ${cpuShares}`);
  // kernel/sched/core.c, tg_set_cfs_bandwidth: at least 1 ms of each, at most 1 s of period.
  if (cpuQuota !== 0n && cpuQuota !== -1n && cpuQuota < 1000n) {
    refuseLimit(`cpu_quota must be -1 or at least 1000 (microseconds), got ${cpuQuota}`);
  }
  if (cpuPeriod !== 0n && (cpuPeriod < 1000n || cpuPeriod > 1_000_000n)) {
    refuseLimit(`cpu_period must be 1000 to 1000000 (microseconds), got ${cpuPeriod}`);
  }
  for (const [field, list] of [
    ["cpuset_cpus", resources.cpusetCpus],
    ["cpuset_mems", resources.cpusetMems],
  ] as const) {
    if (!/^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$/.test(list)) {
      refuseLimit(`${field} must be a list as 0-2,4 (cpuset(7)), got ${quoted(list)}`);
    }
  }
}

function checkMemory(resources: LinuxContainerResources, cgroupVersion: 1 | 2): void {
  const { memoryLimitInBytes: limit, memorySwapLimitInBytes: swap } = resources;
  if (limit < -1n) refuseLimit(`memory_limit_in_bytes cannot be negative, got ${limit}`);
  if (swap < -1n) refuseLimit(`memory_swap_limit_in_bytes cannot be negative, got ${swap}`);
  if (swap <= 0n) return;
  if (limit > swap || limit === -1n) {
    refuseLimit(
      `memory_swap_limit_in_bytes is memory and swap together and cannot be less than memory_limit_in_bytes ${limit}, got ${swap}`,
    );
  }
  // memory.swap.max counts swap alone: without a memory limit nothing is subtracted.
  if (limit === 0n && cgroupVersion === 2) {
    refuseLimit("memory_swap_limit_in_bytes needs memory_limit_in_bytes on cgroup v2");
  }
}
