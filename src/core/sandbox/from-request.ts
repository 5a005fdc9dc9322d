import { randomBytes } from "node:crypto";
import type { LinuxContainerResources, PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import type { CgroupResources } from "./environment.ts";

/** A new sandbox id: 64 hexadecimal digits, as with containerd and CRI-O. */
export function newSandboxId(): string {
  return randomBytes(32).toString("hex");
}

/** The limits in a CRI resources message. Zero and empty fields are left out. */
export function cgroupResources(resources: LinuxContainerResources): CgroupResources {
  return {
    ...(resources.cpuPeriod === 0n ? {} : { cpuPeriod: resources.cpuPeriod }),
    ...(resources.cpuQuota === 0n ? {} : { cpuQuota: resources.cpuQuota }),
    ...(resources.cpuShares === 0n ? {} : { cpuShares: resources.cpuShares }),
    ...(resources.memoryLimitInBytes === 0n
      ? {}
      : { memoryLimitBytes: resources.memoryLimitInBytes }),
    ...(resources.memorySwapLimitInBytes === 0n
      ? {}
      : { memorySwapLimitBytes: resources.memorySwapLimitInBytes }),
    ...(resources.cpusetCpus === "" ? {} : { cpusetCpus: resources.cpusetCpus }),
    ...(resources.cpusetMems === "" ? {} : { cpusetMems: resources.cpusetMems }),
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }) => ({
      pageSize,
      limitBytes: limit,
    })),
    unified: resources.unified,
  };
}

/** The pod-wide limits of a config; undefined when it has none. */
export function cgroupResourcesOf(config: PodSandboxConfig): CgroupResources | undefined {
  const resources = config.linux?.resources;
  return resources === undefined ? undefined : cgroupResources(resources);
}
