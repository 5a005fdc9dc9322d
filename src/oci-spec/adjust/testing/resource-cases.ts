import { type FieldCases, linux, plain, resources, v1, v2, value, without } from "./field-case.ts";

/** Fields of `linux.resources`. */
export const resourceCases: FieldCases = {
  "linux.resources.memory.reservation": [
    {
      adjust: resources({ memory: { reservation: value } }),
      look: (spec) => spec.linux.resources.memory?.reservation,
      want: 5000n,
    },
    {
      adjust: resources({ memory: { reservation: { value: -1n } } }),
      facts: v1,
      look: (spec) => spec.linux.resources.memory?.reservation,
      want: -1n,
      refusedBy: v2,
      message: /reservation: cannot be negative/,
    },
  ],
  "linux.resources.memory.kernel": [
    { adjust: resources({ memory: { kernel: value } }), refusedBy: v1, message: /since 5\.16/ },
  ],
  "linux.resources.memory.kernel_tcp": [
    {
      adjust: resources({ memory: { kernelTcp: value } }),
      facts: v1,
      look: (spec) => spec.linux.resources.memory?.kernelTCP,
      want: 5000n,
      refusedBy: v2,
      message: /memory\.kernel_tcp: cgroup v2 does not have it/,
    },
  ],
  "linux.resources.memory.swappiness": [
    {
      adjust: resources({ memory: { swappiness: { value: 0n } } }),
      facts: v1,
      look: (spec) => spec.linux.resources.memory?.swappiness,
      want: 0n,
      refusedBy: v2,
      message: /memory\.swappiness: cgroup v2 does not have it/,
    },
  ],
  "linux.resources.memory.disable_oom_killer": [
    {
      adjust: resources({ memory: { disableOomKiller: { value: true } } }),
      facts: v1,
      look: (spec) => spec.linux.resources.memory?.disableOOMKiller,
      want: true,
      refusedBy: v2,
      message: /memory\.disable_oom_killer: cgroup v2 does not have it/,
    },
  ],
  "linux.resources.memory.use_hierarchy": [
    {
      adjust: resources({ memory: { useHierarchy: { value: false } } }),
      facts: v1,
      look: (spec) => spec.linux.resources.memory?.useHierarchy,
      want: false,
      refusedBy: v2,
      message: /memory\.use_hierarchy: false: cgroup v2 does not have it/,
    },
    {
      adjust: resources({ memory: { useHierarchy: { value: true } } }),
      look: (spec) => spec.linux.resources.memory,
      want: plain.linux.resources.memory,
    },
  ],
  "linux.resources.cpu.realtime_runtime": [
    {
      adjust: resources({ cpu: { realtimeRuntime: value } }),
      facts: v1,
      look: (spec) => spec.linux.resources.cpu?.realtimeRuntime,
      want: 5000n,
      refusedBy: v2,
      message: /cpu\.realtime_runtime .*: cgroup v2 does not have it/,
    },
  ],
  "linux.resources.cpu.realtime_period": [
    {
      adjust: resources({ cpu: { realtimePeriod: value } }),
      facts: v1,
      look: (spec) => spec.linux.resources.cpu?.realtimePeriod,
      want: 5000n,
      refusedBy: v2,
      message: /cpu\.realtime_runtime .*: cgroup v2 does not have it/,
    },
  ],
  "linux.resources.blockio_class": [
    {
      adjust: resources({ blockioClass: { value: "slow" } }),
      look: (spec) => spec.linux.resources.blockIO,
      want: { weight: 4 },
    },
    {
      adjust: resources({ blockioClass: {} }),
      spec: {
        ...plain,
        linux: { ...plain.linux, resources: { ...plain.linux.resources, blockIO: { weight: 9 } } },
      },
      look: (spec) => "blockIO" in spec.linux.resources,
      want: false,
    },
  ],
  "linux.resources.rdt_class": [
    {
      adjust: linux({
        resources: { rdtClass: { value: "gold" } },
        rdt: { enableMonitoring: { value: true } },
      }),
      look: (spec) => spec.linux.intelRdt,
      want: { closID: "gold", enableMonitoring: true },
      refusedBy: without("linux.intelRdt"),
      message: /does not support linux\.intelRdt/,
    },
  ],
  "linux.resources.devices": [
    {
      adjust: resources({
        devices: [
          { allow: true, type: "c", major: { value: 1n }, minor: { value: -1n }, access: "r" },
          { allow: false, access: "w" },
        ],
      }),
      look: (spec) => spec.linux.resources.devices?.slice(-2),
      want: [
        { allow: true, type: "c", major: 1, access: "r" },
        { allow: false, access: "w" },
      ],
    },
  ],
  "linux.resources.pids": [
    {
      adjust: resources({ pids: { limit: 9n } }),
      look: (spec) => spec.linux.resources.pids,
      want: { limit: 9n },
    },
    {
      adjust: resources({ pids: {} }),
      look: (spec) => spec.linux.resources.pids,
      want: { limit: -1n },
    },
  ],
};
