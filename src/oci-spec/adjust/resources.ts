import type {
  OciCpu,
  OciDeviceRule,
  OciLinux,
  OciMemory,
  OciResources,
} from "../../core/oci/index.ts";
import type {
  LinuxContainerAdjustment,
  LinuxCPU,
  LinuxDeviceCgroup,
  LinuxMemory,
  LinuxResources,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type AdjustFacts, refuseAdjustment } from "./facts.ts";

/**
 * The limits that the CRI does not have. Those that it has are among the container's resources in force, of which the spec
 * was made (divideAdjustment()), so that later updates change them.
 */
export function adjustedResources(
  linux: OciLinux,
  { resources: changes }: LinuxContainerAdjustment,
  facts: AdjustFacts,
): OciLinux {
  if (changes === undefined) return linux;
  const limits = otherLimits(changes, facts);
  const { blockIO: _blockIO, ...before } = linux.resources;
  const name = changes.blockioClass?.value;
  // An empty class takes the limits away.
  const kept = name === undefined ? linux.resources : before;
  const rules = changes.devices.map(ruleOf);
  return {
    ...linux,
    resources: {
      ...mergedLimits(kept, limits),
      ...(name === undefined || name === "" || facts.blockIo === undefined
        ? {}
        : { blockIO: facts.blockIo }),
      ...(rules.length === 0 ? {} : { devices: [...(kept.devices ?? []), ...rules] }),
    },
  };
}

/** Limits with others, field by field. */
function mergedLimits(before: OciResources, limits: OciResources): OciResources {
  const { cpu, memory } = limits;
  return {
    ...before,
    ...limits,
    ...(cpu === undefined ? {} : { cpu: { ...before.cpu, ...cpu } }),
    ...(memory === undefined ? {} : { memory: { ...before.memory, ...memory } }),
  };
}

/**
 * What plugins limit and the CRI does not. `failed-precondition` naming the field for what this node does not have.
 */
function otherLimits(changes: LinuxResources, facts: Pick<AdjustFacts, "host">): OciResources {
  const cpu = changes.cpu === undefined ? {} : realtime(changes.cpu, facts);
  const memory = changes.memory === undefined ? {} : memoryLimits(changes.memory, facts);
  const pids = changes.pids?.limit;
  return {
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(Object.keys(memory).length === 0 ? {} : { memory }),
    // NRI: 0 and -1 mean no limit. OCI runtimes do nothing for 0.
    ...(pids === undefined ? {} : { pids: { limit: pids <= 0n ? -1n : pids } }),
  };
}

function realtime({ realtimeRuntime, realtimePeriod }: LinuxCPU, facts: WithHost): OciCpu {
  if ((realtimeRuntime ?? realtimePeriod) === undefined) return {};
  refuseOnV2("cpu.realtime_runtime and cpu.realtime_period", facts);
  return {
    ...(realtimeRuntime === undefined ? {} : { realtimeRuntime: realtimeRuntime.value }),
    ...(realtimePeriod === undefined ? {} : { realtimePeriod: realtimePeriod.value }),
  };
}

type WithHost = Pick<AdjustFacts, "host">;

function memoryLimits(memory: LinuxMemory, facts: WithHost): OciMemory {
  checkMemory(memory, facts);
  const { reservation, kernelTcp, swappiness } = memory;
  return {
    ...(reservation === undefined ? {} : { reservation: reservation.value }),
    ...(kernelTcp === undefined ? {} : { kernelTCP: kernelTcp.value }),
    ...(swappiness === undefined ? {} : { swappiness: swappiness.value }),
    ...(facts.host.cgroupVersion === 1 ? switches(memory) : {}),
  };
}

function switches({ disableOomKiller, useHierarchy }: LinuxMemory): OciMemory {
  return {
    ...(disableOomKiller === undefined ? {} : { disableOOMKiller: disableOomKiller.value }),
    ...(useHierarchy === undefined ? {} : { useHierarchy: useHierarchy.value }),
  };
}

function checkMemory(memory: LinuxMemory, facts: WithHost): void {
  const { reservation, kernel, kernelTcp, swappiness, disableOomKiller, useHierarchy } = memory;
  if (kernel !== undefined) {
    refuseAdjustment(
      "linux.resources.memory.kernel: Linux has no such limit since 5.16, and OCI runtimes ignore it; limit the memory",
    );
  }
  if (kernelTcp !== undefined) refuseOnV2("memory.kernel_tcp", facts);
  if (swappiness !== undefined) refuseOnV2("memory.swappiness", facts);
  if (disableOomKiller?.value === true) refuseOnV2("memory.disable_oom_killer", facts);
  // On v2 each limit holds for the cgroups below too.
  if (useHierarchy?.value === false) refuseOnV2("memory.use_hierarchy: false", facts);
  if ((reservation?.value ?? 0n) < 0n && facts.host.cgroupVersion === 2) {
    refuseAdjustment(
      `linux.resources.memory.reservation: cannot be negative on cgroup v2, got ${reservation?.value ?? 0n}`,
    );
  }
}

function refuseOnV2(field: string, { host }: WithHost): void {
  if (host.cgroupVersion === 2) {
    refuseAdjustment(`linux.resources.${field}: cgroup v2 does not have it`);
  }
}

/** In a rule of NRI -1 and no number stand for all. */
function ruleOf({ allow, type, major, minor, access }: LinuxDeviceCgroup): OciDeviceRule {
  return {
    allow,
    ...(type === "" ? {} : { type: type as "a" | "b" | "c" }),
    ...(major === undefined || major.value < 0n ? {} : { major: Number(major.value) }),
    ...(minor === undefined || minor.value < 0n ? {} : { minor: Number(minor.value) }),
    access,
  };
}
