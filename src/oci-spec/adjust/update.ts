import type { LinuxMemory, LinuxResources } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { SpecHost } from "../input.ts";
import { refuseAdjustment } from "./facts.ts";

/**
 * An update of resources with what plugins limit and the CRI has no field for. On cgroup v2 they are added to
 * `unified` as files, so that they are applied, reported and restored like all other limits. `failed-precondition` naming the field for
 * those that a running container cannot change.
 */
export function updateWithOthers(
  update: LinuxContainerResources,
  others: LinuxResources,
  host: Pick<SpecHost, "cgroupVersion">,
): LinuxContainerResources {
  const { memory, cpu, pids, blockioClass, rdtClass } = others;
  const fixed: Readonly<Record<string, unknown>> = {
    blockio_class: blockioClass,
    rdt_class: rdtClass,
    devices: others.devices[0],
    "cpu.realtime_runtime": cpu?.realtimeRuntime,
    "cpu.realtime_period": cpu?.realtimePeriod,
    ...fixedMemory(memory),
    ...(host.cgroupVersion === 2 ? {} : { pids, "memory.reservation": memory?.reservation }),
  };
  for (const [field, value] of Object.entries(fixed)) {
    if (value === undefined) continue;
    const where = host.cgroupVersion === 2 ? "" : " on cgroup v1";
    refuseAdjustment(
      `resources.${field}: an update cannot change it${where}; set it when the container is created`,
    );
  }
  const reservation = memory?.reservation?.value;
  if (reservation !== undefined && reservation < 0n) {
    refuseAdjustment(
      `resources.memory.reservation: cannot be negative on cgroup v2, got ${reservation}`,
    );
  }
  return {
    ...update,
    unified: {
      ...(pids === undefined ? {} : { "pids.max": pids.limit > 0n ? String(pids.limit) : "max" }),
      ...(reservation === undefined ? {} : { "memory.low": String(reservation) }),
      ...update.unified,
    },
  };
}

function fixedMemory(memory: LinuxMemory | undefined): Readonly<Record<string, unknown>> {
  return {
    "memory.kernel": memory?.kernel,
    "memory.kernel_tcp": memory?.kernelTcp,
    "memory.swappiness": memory?.swappiness,
    "memory.disable_oom_killer": memory?.disableOomKiller,
    "memory.use_hierarchy": memory?.useHierarchy,
  };
}
