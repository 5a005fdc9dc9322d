/** Figures of a container with a value of its own in each field, and the samples that are made of them. */
import { create } from "@bufbuild/protobuf";

import type { Container } from "../../../../core/container/index.ts";
import type {
  CgroupFigures,
  ContainerFigures,
  FileSystemFigures,
  Pressure,
} from "../../../../core/stats/index.ts";
import { LinuxContainerResourcesSchema } from "../../../../gen/runtime/v1/api_pb.ts";
import type { AddSample, Sample } from "../metric.ts";

export const second = 1_000_000_000n;
const times = (seconds: bigint): Pressure["some"] => ({
  totalNs: seconds * second + 7n,
  avg10: 0,
  avg60: 0,
  avg300: 0,
});
const pressure = (some: bigint, full: bigint): Pressure => ({
  some: times(some),
  full: times(full),
});

export const cgroup: CgroupFigures = {
  takenAtNs: 11n,
  cpu: {
    usageNs: 12n * second + 999_999_999n,
    userNs: 8n * second,
    systemNs: 4n * second,
    throttling: { periods: 30n, throttledPeriods: 20n, throttledNs: 5n * second },
    pressure: pressure(1n, 2n),
  },
  memory: {
    usage: 100n,
    workingSet: 90n,
    available: undefined,
    rss: 80n,
    pageFaults: 70n,
    majorPageFaults: 7n,
    pressure: pressure(3n, 4n),
    maxUsage: 110n,
    limitHits: 6n,
    cache: 50n,
    mappedFile: 40n,
    kernel: 30n,
    swap: 20n,
    ownPageFaults: 69n,
    ownMajorPageFaults: 5n,
  },
  ioPressure: pressure(5n, 6n),
  oomKills: 3n,
  devices: [
    {
      major: 8,
      minor: 16,
      name: "/dev/sdb",
      bytes: new Map([
        ["Read", 4096n],
        ["Write", 512n],
      ]),
      requests: new Map([["Read", 2n]]),
    },
  ],
  tasks: 9n,
};
export const figures: ContainerFigures = {
  seenAtNs: 1_700_000_000n * second,
  cgroup,
  slow: {
    takenAtNs: 12n,
    open: { processes: 2, descriptors: 14, sockets: 5 },
    openFilesLimit: 1024n,
    maxTasks: 0n,
    hugePages: [
      { pageSize: "2MB", usage: 2n << 20n, maxUsage: 4n << 20n },
      { pageSize: "1GB", usage: 0n, maxUsage: undefined },
    ],
  },
  writableLayer: { takenAtNs: 13n, mountpoint: "/var", bytes: 4096n, inodes: 3n },
};
export const fileSystem: FileSystemFigures = {
  takenAtNs: 14n,
  device: "/dev/sda1",
  bytes: 1000n,
  inodes: 100n,
  freeInodes: 60n,
};
const resources = create(LinuxContainerResourcesSchema, {
  cpuPeriod: 50_000n,
  cpuQuota: 20_000n,
  cpuShares: 512n,
  memoryLimitInBytes: 64n << 20n,
  memorySwapLimitInBytes: 96n << 20n,
  unified: { "memory.min": "1048576" },
});
export const container = {
  id: "c1",
  sandboxId: "p1",
  resources,
  state: { name: "running", startedAtNs: 1_600_000_000n * second + 5n },
} as Container;

/** The samples that are added. */
export function collect(...adding: readonly ((add: AddSample) => void)[]): readonly Sample[] {
  const samples: Sample[] = [];
  for (const each of adding) {
    each((metric, labels, value, atNs) => {
      samples.push({ metric, labels, value, atNs });
    });
  }
  return samples;
}
