import { clone, create, toBinary } from "@bufbuild/protobuf";
import {
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  LinuxCPUSchema,
  LinuxMemorySchema,
  type LinuxResources,
  LinuxResourcesSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  type LinuxContainerResources,
  LinuxContainerResourcesSchema,
} from "../../../gen/runtime/v1/api_pb.ts";
import type { Fields } from "./fields.ts";
import type { DividedAdjustment, PluginMessages } from "../../../core/plugin/index.ts";
import { RuntimeError } from "../../../base/errors.ts";

/**
 * Resources of the CRI as plugins get them. A limit that is not set is there with the value 0, as with
 * containerd.
 */
export function pluginResources(resources: LinuxContainerResources): LinuxResources {
  const swap = resources.memorySwapLimitInBytes;
  return create(LinuxResourcesSchema, {
    cpu: {
      shares: { value: resources.cpuShares },
      quota: { value: resources.cpuQuota },
      period: { value: resources.cpuPeriod },
      cpus: resources.cpusetCpus,
      mems: resources.cpusetMems,
    },
    memory: {
      limit: { value: resources.memoryLimitInBytes },
      ...(swap === 0n ? {} : { swap: { value: swap } }),
    },
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit })),
    unified: resources.unified,
  });
}

/**
 * What the CRI knows of the resources of a plugin, as an update: 0 and empty change nothing. Limits that
 * the CRI does not have are left out (reservation, swappiness, pids, devices, classes...).
 */
function criResources(resources: LinuxResources): LinuxContainerResources {
  return create(LinuxContainerResourcesSchema, {
    ...criCpu(resources.cpu),
    ...criMemory(resources.memory),
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit })),
    unified: resources.unified,
  });
}

function criCpu(cpu: LinuxResources["cpu"]): Fields<typeof LinuxContainerResourcesSchema> {
  if (cpu === undefined) return {};
  return {
    cpuShares: cpu.shares?.value ?? 0n,
    cpuQuota: cpu.quota?.value ?? 0n,
    cpuPeriod: cpu.period?.value ?? 0n,
    cpusetCpus: cpu.cpus,
    cpusetMems: cpu.mems,
  };
}

function criMemory(memory: LinuxResources["memory"]): Fields<typeof LinuxContainerResourcesSchema> {
  return {
    memoryLimitInBytes: memory?.limit?.value ?? 0n,
    memorySwapLimitInBytes: memory?.swap?.value ?? 0n,
  };
}

/**
 * Takes the resources that the CRI knows out of an adjustment, which is not changed. `resource-exhausted` for
 * a rest of more than 1 MiB.
 */
function divideAdjustment(adjustment: ContainerAdjustment): DividedAdjustment {
  const rest = clone(ContainerAdjustmentSchema, adjustment);
  const { linux } = rest;
  const wanted = linux?.resources;
  let resources: LinuxContainerResources | undefined;
  if (linux !== undefined && wanted !== undefined) {
    resources = criResources(wanted);
    // The rest is left to the spec, which is made from the resources in force before it is adjusted.
    linux.resources = withoutCri(wanted);
  }
  const bytes = adjustmentBytes(rest);
  return {
    resources: isZero(resources) ? undefined : resources,
    rest: bytes.length === 0 ? undefined : bytes,
  };
}

function withoutCri(resources: LinuxResources): LinuxResources | undefined {
  const left = clone(LinuxResourcesSchema, resources);
  left.hugepageLimits = [];
  left.unified = {};
  const { cpu, memory } = left;
  if (cpu !== undefined) {
    delete cpu.shares;
    delete cpu.quota;
    delete cpu.period;
    cpu.cpus = "";
    cpu.mems = "";
    if (toBinary(LinuxCPUSchema, cpu).length === 0) delete left.cpu;
  }
  if (memory !== undefined) {
    delete memory.limit;
    delete memory.swap;
    if (toBinary(LinuxMemorySchema, memory).length === 0) delete left.memory;
  }
  return toBinary(LinuxResourcesSchema, left).length === 0 ? undefined : left;
}

function isZero(resources: LinuxContainerResources | undefined): boolean {
  return resources === undefined || toBinary(LinuxContainerResourcesSchema, resources).length === 0;
}

/** The largest adjustment that is recorded. A plugin's answer has a limit of its own, of 4 MiB. */
const maxBytes = 1024 * 1024;

function adjustmentBytes(adjustment: ContainerAdjustment): Uint8Array {
  const bytes = toBinary(ContainerAdjustmentSchema, adjustment);
  if (bytes.length <= maxBytes) return bytes;
  throw new RuntimeError(
    "resource-exhausted",
    `the adjustments of plugins have ${bytes.length} bytes, the limit is ${maxBytes}`,
  );
}

/** The conversions that the engine needs. */
export const messages: PluginMessages = { pluginResources, criResources, divideAdjustment };
