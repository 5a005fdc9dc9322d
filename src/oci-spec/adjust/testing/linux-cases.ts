import { type FieldCases, linux, plain, v2, without } from "./field-case.ts";

/** Fields of `linux` but its resources. */
export const linuxCases: FieldCases = {
  "linux.devices": [
    {
      adjust: linux({
        devices: [
          { path: "/dev/a", type: "c", major: 1n, minor: 2n, fileMode: { value: 0o20640 } },
          { path: "/dev/b", type: "b", major: 3n, minor: 4n, uid: { value: 5 }, gid: { value: 6 } },
          { path: "/dev/p", type: "p" },
          { path: "-/dev/old" },
        ],
      }),
      spec: {
        ...plain,
        linux: {
          ...plain.linux,
          devices: [
            { path: "/dev/old", type: "c", major: 9, minor: 9, fileMode: 1, uid: 0, gid: 0 },
          ],
          resources: {
            devices: [
              { allow: false, access: "rwm" },
              { allow: true, type: "c", major: 9, minor: 9, access: "rwm" },
            ],
          },
        },
      },
      look: ({ linux: { devices, resources: limits } }) => [devices, limits.devices],
      want: [
        [
          { path: "/dev/a", type: "c", major: 1, minor: 2, fileMode: 0o640, uid: 0, gid: 0 },
          { path: "/dev/b", type: "b", major: 3, minor: 4, fileMode: 0o666, uid: 5, gid: 6 },
          { path: "/dev/p", type: "p", major: 0, minor: 0, fileMode: 0o666, uid: 0, gid: 0 },
        ],
        [
          { allow: false, access: "rwm" },
          { allow: true, type: "c", major: 1, minor: 2, access: "rw" },
          { allow: true, type: "b", major: 3, minor: 4, access: "rwm" },
        ],
      ],
    },
  ],
  "linux.cgroups_path": [
    {
      adjust: linux({ cgroupsPath: "/other/c1" }),
      look: (spec) => spec.linux.cgroupsPath,
      want: "/other/c1",
    },
  ],
  "linux.oom_score_adj": [
    {
      adjust: linux({ oomScoreAdj: { value: -900n } }),
      look: ({ process }) => process.oomScoreAdj,
      want: -900,
    },
    {
      adjust: linux({ oomScoreAdj: { value: -900n } }),
      facts: { ...v2, host: { cgroupVersion: 2, oomScoreAdjFloor: -100 } },
      look: ({ process }) => process.oomScoreAdj,
      want: -100,
    },
  ],
  "linux.io_priority": [
    {
      adjust: linux({ ioPriority: { class: 2, priority: 4 } }),
      look: ({ process }) => process.ioPriority,
      want: { class: "IOPRIO_CLASS_BE", priority: 4 },
      refusedBy: without("process.ioPriority"),
      message: /does not support process\.ioPriority/,
    },
    {
      adjust: linux({ ioPriority: {} }),
      spec: {
        ...plain,
        process: { ...plain.process, ioPriority: { class: "IOPRIO_CLASS_RT", priority: 0 } },
      },
      facts: without("process.ioPriority"),
      look: ({ process }) => "ioPriority" in process,
      want: false,
    },
  ],
  "linux.seccomp_policy": [
    {
      adjust: linux({
        seccompPolicy: {
          defaultAction: "SCMP_ACT_ERRNO",
          defaultErrno: { value: 38 },
          architectures: ["SCMP_ARCH_X86_64"],
          flags: ["SECCOMP_FILTER_FLAG_LOG"],
          listenerPath: "/run/l",
          listenerMetadata: "m",
          syscalls: [
            {
              names: ["read"],
              action: "SCMP_ACT_ALLOW",
              errnoRet: { value: 1 },
              args: [{ index: 1, value: 2n, valueTwo: 3n, op: "SCMP_CMP_EQ" }],
            },
          ],
        },
      }),
      look: (spec) => spec.linux.seccomp,
      want: {
        defaultAction: "SCMP_ACT_ERRNO",
        defaultErrnoRet: 38,
        architectures: ["SCMP_ARCH_X86_64"],
        flags: ["SECCOMP_FILTER_FLAG_LOG"],
        listenerPath: "/run/l",
        listenerMetadata: "m",
        syscalls: [
          {
            names: ["read"],
            action: "SCMP_ACT_ALLOW",
            errnoRet: 1,
            args: [{ index: 1, value: 2n, valueTwo: 3n, op: "SCMP_CMP_EQ" }],
          },
        ],
      },
    },
  ],
  "linux.namespaces": [
    {
      adjust: linux({ namespaces: [{ type: "-ipc" }, { type: "network", path: "/run/n" }] }),
      look: (spec) =>
        spec.linux.namespaces.filter(({ type }) => type === "ipc" || type === "network"),
      want: [{ type: "network", path: "/run/n" }],
    },
    {
      adjust: linux({ namespaces: [{ type: "user" }] }),
      refusedBy: v2,
      message: /new user namespace has no ids/,
    },
    {
      adjust: linux({ namespaces: [{ type: "-user" }] }),
      spec: { ...plain, linux: { ...plain.linux, uidMappings: [] } },
      refusedBy: v2,
      message: /the pod has a user namespace/,
    },
  ],
  "linux.sysctl": [
    {
      adjust: linux({ sysctl: { "net.core.somaxconn": "9", "-a.b": "" } }),
      spec: { ...plain, linux: { ...plain.linux, sysctl: { "a.b": "1" } } },
      look: (spec) => spec.linux.sysctl,
      want: { "net.core.somaxconn": "9" },
    },
  ],
  "linux.net_devices": [
    {
      adjust: linux({ netDevices: { eth7: { name: "eth0" }, eth8: {}, "-eth9": {} } }),
      spec: { ...plain, linux: { ...plain.linux, netDevices: { eth9: {} } } },
      look: (spec) => [spec.linux.netDevices, spec.ociVersion],
      want: [{ eth7: { name: "eth0" }, eth8: {} }, "1.3.0"],
      refusedBy: without("linux.netDevices"),
      message: /does not support linux\.netDevices/,
    },
    {
      adjust: linux({ netDevices: { eth7: {} }, namespaces: [{ type: "-network" }] }),
      refusedBy: v2,
      message: /no network namespace/,
    },
  ],
  "linux.scheduler": [
    {
      adjust: linux({ scheduler: { policy: 2, priority: 7, flags: [0], nice: 0 } }),
      look: ({ process }) => process.scheduler,
      want: { policy: "SCHED_FIFO", priority: 7, flags: ["SCHED_FLAG_RESET_ON_FORK"] },
      refusedBy: without("process.scheduler"),
      message: /does not support process\.scheduler/,
    },
    {
      adjust: linux({ scheduler: { policy: 7, runtime: 1n, deadline: 2n, period: 3n, nice: 4 } }),
      look: ({ process }) => process.scheduler,
      want: { policy: "SCHED_DEADLINE", nice: 4, runtime: 1n, deadline: 2n, period: 3n },
    },
    {
      adjust: linux({ scheduler: {} }),
      spec: { ...plain, process: { ...plain.process, scheduler: { policy: "SCHED_RR" } } },
      look: ({ process }) => "scheduler" in process,
      want: false,
    },
  ],
  "linux.memory_policy": [
    {
      adjust: linux({ memoryPolicy: { mode: 2, nodes: "0-1", flags: [0] } }),
      look: (spec) => [spec.linux.memoryPolicy, spec.ociVersion],
      want: [{ mode: "MPOL_BIND", nodes: "0-1", flags: ["MPOL_F_STATIC_NODES"] }, "1.3.0"],
      refusedBy: without("linux.memoryPolicy"),
      message: /does not support linux\.memoryPolicy/,
    },
  ],
  "linux.rdt.clos_id": [
    {
      adjust: linux({ rdt: { closId: { value: "gold" } } }),
      look: (spec) => [spec.linux.intelRdt, spec.ociVersion],
      want: [{ closID: "gold" }, "1.1.0"],
      refusedBy: without("linux.intelRdt"),
      message: /does not support linux\.intelRdt/,
    },
  ],
  "linux.rdt.schemata": [
    {
      adjust: linux({ rdt: { schemata: { value: ["L2:0=f"] } } }),
      look: (spec) => [spec.linux.intelRdt, spec.ociVersion],
      want: [{ schemata: ["L2:0=f"] }, "1.3.0"],
      refusedBy: without("linux.intelRdt.schemata"),
      message: /lines of L3 and MB, got "L2:0=f"/,
    },
    {
      adjust: linux({ rdt: { schemata: { value: ["L3:0=f", "L3CODE:0=1", "MB:0=50"] } } }),
      facts: without("linux.intelRdt.schemata"),
      look: (spec) => [spec.linux.intelRdt, spec.ociVersion],
      want: [{ l3CacheSchema: "L3:0=f\nL3CODE:0=1", memBwSchema: "MB:0=50" }, "1.1.0"],
    },
  ],
  "linux.rdt.enable_monitoring": [
    {
      adjust: linux({ rdt: { enableMonitoring: { value: true } } }),
      look: (spec) => spec.linux.intelRdt,
      want: { enableMonitoring: true },
      refusedBy: without("linux.intelRdt.enableMonitoring"),
      message: /does not support linux\.intelRdt\.enableMonitoring/,
    },
  ],
  "linux.rdt.remove": [
    {
      adjust: linux({ rdt: { remove: true }, resources: { rdtClass: { value: "gold" } } }),
      spec: { ...plain, linux: { ...plain.linux, intelRdt: { closID: "x" } } },
      facts: without("linux.intelRdt"),
      look: (spec) => "intelRdt" in spec.linux,
      want: false,
    },
  ],
};
