import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import type { OptionalField, RuntimeFeatures } from "../../core/handler/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import {
  ContainerAdjustmentSchema,
  IOPrioClassSchema,
  type LinuxContainerAdjustmentSchema,
  type LinuxResourcesSchema,
  LinuxSchedulerFlagSchema,
  LinuxSchedulerPolicySchema,
  MpolFlagSchema,
  MpolModeSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { containerSpec } from "../generate.ts";
import { adjustmentFields } from "../testing/adjustment-fields.ts";
import { specInput, testHost } from "../testing/spec-input.ts";
import { adjustedSpec } from "./adjust.ts";
import type { AdjustFacts } from "./facts.ts";
import * as names from "./names.ts";

type Adjustment = MessageInitShape<typeof ContainerAdjustmentSchema>;
type Linux = MessageInitShape<typeof LinuxContainerAdjustmentSchema>;
type Resources = MessageInitShape<typeof LinuxResourcesSchema>;

const runtime: RuntimeFeatures = {
  mountOptions: ["ro"],
  idMappedMounts: true,
  seccomp: true,
  optionalFields: [
    "process.scheduler",
    "process.ioPriority",
    "linux.netDevices",
    "linux.memoryPolicy",
    "linux.intelRdt",
    "linux.intelRdt.schemata",
    "linux.intelRdt.enableMonitoring",
  ],
};
const v2: AdjustFacts = {
  host: testHost,
  runtime,
  blockIo: { weight: 4 },
  intelRdt: { closID: "gold" },
};
const v1: AdjustFacts = { ...v2, host: { cgroupVersion: 1 } };
const without = (field: OptionalField): AdjustFacts => ({
  ...v2,
  runtime: {
    ...runtime,
    optionalFields: runtime.optionalFields?.filter((one) => one !== field) ?? [],
  },
});

const plain = containerSpec(specInput());
const linux = (init: Linux): Adjustment => ({ linux: init });
const resources = (init: Resources): Adjustment => linux({ resources: init });
const value = { value: 5000n };

interface FieldCase {
  readonly adjust: Adjustment;
  readonly facts?: AdjustFacts;
  readonly spec?: OciSpec;
  /** What of the spec is looked at, and what must be there. */
  readonly look?: (spec: OciSpec) => unknown;
  readonly want?: unknown;
  /** Facts with which the same is refused, and what the message has. */
  readonly refusedBy?: AdjustFacts;
  readonly message?: RegExp;
}

const lastOf = <Item>(list: readonly Item[] | undefined): Item | undefined => list?.at(-1);

const cases: Readonly<Record<string, readonly FieldCase[]>> = {
  annotations: [
    {
      adjust: { annotations: { a: "1", "-io.kubernetes.cri.image-name": "" } },
      look: ({ annotations }) => [annotations["a"], annotations["io.kubernetes.cri.image-name"]],
      want: ["1", undefined],
    },
  ],
  mounts: [
    {
      adjust: {
        mounts: [
          { destination: "/a/b", type: "tmpfs", source: "tmpfs", options: ["size=1m"] },
          { destination: "/etc/hosts", source: "/srv/hosts", options: ["ro", "relabel", "rslave"] },
          { destination: "-/dev/mqueue" },
          { destination: "/a", type: "bind", source: "/srv", options: ["bind"] },
        ],
      },
      look: ({ mounts, linux: { rootfsPropagation } }) => [
        mounts.filter(({ destination }) => /^\/(a|etc\/hosts|dev\/mqueue)/.test(destination)),
        rootfsPropagation,
      ],
      want: [
        [
          { destination: "/a", type: "bind", source: "/srv", options: ["bind"] },
          { destination: "/a/b", type: "tmpfs", source: "tmpfs", options: ["size=1m"] },
          {
            destination: "/etc/hosts",
            type: "bind",
            source: "/srv/hosts",
            options: ["rbind", "ro", "rslave"],
          },
        ],
        "rslave",
      ],
    },
    {
      adjust: { mounts: [{ destination: "/a", source: "/srv", options: ["rshared"] }] },
      spec: { ...plain, linux: { ...plain.linux, rootfsPropagation: "rslave" } },
      look: (spec) => spec.linux.rootfsPropagation,
      want: "rshared",
    },
    {
      adjust: { mounts: [{ destination: "/a", source: "/srv", options: ["rro"] }] },
      refusedBy: v2,
      message: /mounts\["\/a"\]\.options: .* rro/,
    },
  ],
  env: [
    {
      adjust: {
        env: [
          { key: "-HOSTNAME", value: "" },
          { key: "PATH", value: "/bin" },
          { key: "A", value: "b=c" },
        ],
      },
      look: ({ process }) => process.env,
      want: ["PATH=/bin", "A=b=c"],
    },
  ],
  hooks: [
    {
      adjust: {
        hooks: {
          createRuntime: [{ path: "/h", args: ["h"], env: ["A=1"], timeout: { value: 3n } }],
          poststop: [{ path: "/p" }],
        },
      },
      spec: { ...plain, hooks: { poststop: [{ path: "/first" }] } },
      look: ({ hooks }) => hooks,
      want: {
        createRuntime: [{ path: "/h", args: ["h"], env: ["A=1"], timeout: 3 }],
        poststop: [{ path: "/first" }, { path: "/p" }],
      },
    },
  ],
  rlimits: [
    {
      adjust: {
        rlimits: [
          { type: "RLIMIT_CORE", soft: 1n, hard: 2n },
          { type: "RLIMIT_NOFILE", soft: 3n, hard: 4n },
        ],
      },
      spec: {
        ...plain,
        process: { ...plain.process, rlimits: [{ type: "RLIMIT_CORE", soft: 9n, hard: 9n }] },
      },
      look: ({ process }) => process.rlimits,
      want: [
        { type: "RLIMIT_CORE", hard: 2n, soft: 1n },
        { type: "RLIMIT_NOFILE", hard: 4n, soft: 3n },
      ],
    },
  ],
  CDI_devices: [
    {
      adjust: { CDIDevices: [{ name: "example.org/gpu=0" }], env: [{ key: "GPU", value: "mine" }] },
      facts: {
        ...v2,
        cdi: {
          env: ["GPU=0"],
          deviceNodes: [],
          netDevices: [],
          mounts: [],
          hooks: [],
          additionalGids: [],
        },
      },
      look: ({ process }) => lastOf(process.env),
      want: "GPU=0",
    },
  ],
  args: [{ adjust: { args: ["a", ""] }, look: ({ process }) => process.args, want: ["a", ""] }],
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

/** They are among the container's resources in force, of which the spec is made: divideAdjustment(). */
const ofCri: readonly string[] = [
  "linux.resources.memory.limit",
  "linux.resources.memory.swap",
  "linux.resources.cpu.shares",
  "linux.resources.cpu.quota",
  "linux.resources.cpu.period",
  "linux.resources.cpu.cpus",
  "linux.resources.cpu.mems",
  "linux.resources.hugepage_limits",
  "linux.resources.unified",
];

const adjusted = ({ adjust, spec = plain }: FieldCase, facts: AdjustFacts): OciSpec =>
  adjustedSpec(spec, create(ContainerAdjustmentSchema, adjust), facts);

describe("adjustedSpec()", () => {
  test("has a case for each field, or the resources of the CRI have it", () => {
    const known = [...Object.keys(cases), ...ofCri];
    assert.deepEqual(known.toSorted(), adjustmentFields().toSorted());
  });

  for (const [field, all] of Object.entries(cases)) {
    for (const [index, one] of all.entries()) {
      test(`${field}, case ${index}`, () => {
        if (one.look !== undefined) {
          const spec = adjusted(one, one.facts ?? v2);
          assert.deepEqual(one.look(spec), one.want);
        }
        const { refusedBy, message } = one;
        if (refusedBy === undefined) return;
        assert.throws(
          () => adjusted(one, refusedBy),
          (error) => isKind(error, "failed-precondition") && message?.test(String(error)) === true,
        );
      });
    }
  }

  test("an empty adjustment changes nothing", () => {
    assert.deepEqual(adjusted({ adjust: { linux: { resources: {} } } }, v2), plain);
  });

  test("a limit of writable layers holds with a plugin's seccomp policy too", () => {
    const adjustment = create(
      ContainerAdjustmentSchema,
      linux({ seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } }),
    );
    const { seccomp } = containerSpec(
      specInput({}, { isLayerLimited: true, adjust: { adjustment } }),
    ).linux;
    assert.ok(seccomp?.syscalls?.some(({ names: syscalls }) => syscalls.includes("ioctl")));
  });

  test("enums have the names of NRI's messages", () => {
    const namesOf = ({ values }: { readonly values: readonly { readonly name: string }[] }) =>
      values.map(({ name }) => name);
    assert.deepEqual(names.policies, namesOf(LinuxSchedulerPolicySchema));
    assert.deepEqual(names.policyFlags, namesOf(LinuxSchedulerFlagSchema));
    assert.deepEqual(names.ioClasses, namesOf(IOPrioClassSchema));
    assert.deepEqual(names.memoryModes, namesOf(MpolModeSchema));
    assert.deepEqual(names.memoryFlags, namesOf(MpolFlagSchema));
  });
});
