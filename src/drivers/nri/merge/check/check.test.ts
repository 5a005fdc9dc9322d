import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../../../base/errors.ts";
import type { LinuxContainerAdjustmentSchema } from "../../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type Adjustment, apply, bind, newContainer } from "../../testing/created.ts";

type Linux = MessageInitShape<typeof LinuxContainerAdjustmentSchema>;

const linux = (init: Linux): Adjustment => ({ linux: init });
const long = "x".repeat(300_000);
const many = <Item>(item: (index: number) => Item): Item[] =>
  Array.from({ length: 5000 }, (_, index) => item(index));

/** Answers that no container could have, and the field that the refusal names. */
const invalid: readonly (readonly [field: string, adjust: Adjustment])[] = [
  ["annotations", { annotations: { "": "1" } }],
  ["annotations", { annotations: { "-": "1" } }],
  ["annotations", { annotations: { "io.kubernetes.cri.sandbox-id": "s2" } }],
  ["annotations", { annotations: { "-io.kubernetes.cri.sandbox-id": "" } }],
  ['annotations["a"]', { annotations: { a: "\0" } }],
  ['annotations["a"]', { annotations: { a: long } }],
  ["annotations", { annotations: Object.fromEntries(many((index) => [`k${index}`, ""])) }],
  ["mounts", { mounts: [{ source: "/x" }] }],
  ["mounts", { mounts: [{ destination: "-" }] }],
  ["mounts", { mounts: many((index) => bind(`/x${index}`)) }],
  ["mounts.destination", { mounts: [bind("x")] }],
  ["mounts.destination", { mounts: [bind("/x/..")] }],
  ["mounts.destination", { mounts: [bind("/x\0")] }],
  ["mounts.destination", { mounts: [bind(`/${long}`)] }],
  ['mounts["/x"].source', { mounts: [{ destination: "/x", source: "y" }] }],
  ['mounts["/x"].source', { mounts: [{ destination: "/x", type: "none", options: ["bind"] }] }],
  ['mounts["/x"].options', { mounts: [{ ...bind("/x"), options: ["a\0"] }] }],
  ["env", { env: [{ key: "" }] }],
  ["env", { env: [{ key: "-" }] }],
  ["env", { env: [{ key: "A=B" }] }],
  ["env", { env: [{ key: "A\0" }] }],
  ['env["A"]', { env: [{ key: "A", value: "\0" }] }],
  ['env["A"]', { env: [{ key: "A", value: long }] }],
  ["args", { args: ["a\0"] }],
  ["args", { args: [""] }],
  ["args", { args: many(() => "a") }],
  ["hooks.prestart.path", { hooks: { prestart: [{ path: "x" }] } }],
  ["hooks.create_runtime.path", { hooks: { createRuntime: [{}] } }],
  ["hooks.poststop.env", { hooks: { poststop: [{ path: "/x", env: ["A"] }] } }],
  ["hooks.poststop.timeout", { hooks: { poststop: [{ path: "/x", timeout: { value: 0n } }] } }],
  ["hooks.start_container", { hooks: { startContainer: many(() => ({ path: "/x" })) } }],
  ["rlimits", { rlimits: [{ type: "NOFILE" }] }],
  ["rlimits", { rlimits: [{ type: "RLIMIT_NOFILE", soft: 2n, hard: 1n }] }],
  ["CDI_devices", { CDIDevices: [{ name: "gpu" }] }],
  ["linux.devices.path", linux({ devices: [{ path: "dev/x" }] })],
  ["linux.devices.path", linux({ devices: [{ path: "-" }] })],
  ['linux.devices["/dev/x"].type', linux({ devices: [{ path: "/dev/x", type: "f" }] })],
  ['linux.devices["/dev/x"]', linux({ devices: [{ path: "/dev/x", type: "c", major: -1n }] })],
  [
    'linux.devices["/dev/x"]',
    linux({ devices: [{ path: "/dev/x", type: "c", minor: 1n << 20n }] }),
  ],
  ["linux.cgroups_path", linux({ cgroupsPath: "/a\0" })],
  ["linux.oom_score_adj", linux({ oomScoreAdj: { value: 1001n } })],
  ["linux.io_priority.class", linux({ ioPriority: { class: 4 as 0 } })],
  ["linux.io_priority.priority", linux({ ioPriority: { class: 1, priority: 8 } })],
  ["linux.seccomp_policy.default_action", linux({ seccompPolicy: {} })],
  [
    "linux.seccomp_policy.syscalls.action",
    linux({
      seccompPolicy: {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["read"], action: "allow" }],
      },
    }),
  ],
  [
    "linux.seccomp_policy.syscalls.args.index",
    linux({
      seccompPolicy: {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["read"], action: "SCMP_ACT_LOG", args: [{ index: 6 }] }],
      },
    }),
  ],
  [
    "linux.seccomp_policy.listener_path",
    linux({ seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW", listenerPath: "x" } }),
  ],
  ["linux.namespaces.type", linux({ namespaces: [{ type: "time" }] })],
  ["linux.namespaces.type", linux({ namespaces: [{ type: "-" }] })],
  ['linux.namespaces["ipc"].path', linux({ namespaces: [{ type: "ipc", path: "x" }] })],
  ['linux.namespaces["mount"]', linux({ namespaces: [{ type: "-mount" }] })],
  ['linux.namespaces["mount"]', linux({ namespaces: [{ type: "mount", path: "/x" }] })],
  ["linux.sysctl", linux({ sysctl: { "../x": "" } })],
  ['linux.sysctl["a.b"]', linux({ sysctl: { "a.b": "\0" } })],
  ["linux.net_devices", linux({ netDevices: { "a/b": {} } })],
  ['linux.net_devices["eth0"]', linux({ netDevices: { eth0: { name: "sixteen-letters0" } } })],
  ["linux.scheduler.policy", linux({ scheduler: { policy: 5 } })],
  ["linux.scheduler.policy", linux({ scheduler: { policy: 9 as 0 } })],
  ["linux.scheduler.nice", linux({ scheduler: { policy: 1, nice: 20 } })],
  ["linux.scheduler.priority", linux({ scheduler: { policy: 2 } })],
  ["linux.scheduler", linux({ scheduler: { policy: 7, runtime: 2n, deadline: 1n } })],
  ["linux.scheduler", linux({ scheduler: { policy: 1, runtime: 2n } })],
  ["linux.rdt.clos_id", linux({ rdt: { closId: { value: "../x" } } })],
  ["linux.rdt.schemata", linux({ rdt: { schemata: { value: ["L3:0=f\nMB:0=1"] } } })],
  ["linux.memory_policy.mode", linux({ memoryPolicy: { mode: 7 as 0 } })],
  ["linux.memory_policy.nodes", linux({ memoryPolicy: { nodes: "a" } })],
  ["resources.memory.limit", linux({ resources: { memory: { limit: { value: -2n } } } })],
  [
    "resources.memory.swappiness",
    linux({ resources: { memory: { swappiness: { value: 101n } } } }),
  ],
  ["resources.cpu.shares", linux({ resources: { cpu: { shares: { value: 1n << 63n } } } })],
  ["resources.cpu.quota", linux({ resources: { cpu: { quota: { value: 999n } } } })],
  ["resources.cpu.period", linux({ resources: { cpu: { period: { value: 1_000_001n } } } })],
  ["resources.cpu.cpus", linux({ resources: { cpu: { cpus: "a" } } })],
  ["resources.hugepage_limits", linux({ resources: { hugepageLimits: [{ pageSize: "2" }] } })],
  ["resources.unified", linux({ resources: { unified: { "../x": "" } } })],
  ["resources.unified", linux({ resources: { unified: { "cgroup.procs": "1" } } })],
  ["resources.blockio_class", linux({ resources: { blockioClass: { value: "\0" } } })],
  ["resources.rdt_class", linux({ resources: { rdtClass: { value: long } } })],
  ["resources.devices", linux({ resources: { devices: [{ type: "x", access: "r" }] } })],
  ["resources.devices", linux({ resources: { devices: [{ access: "x" }] } })],
  ["resources.pids", linux({ resources: { pids: { limit: -2n } } })],
];

describe("an answer that no container could have", () => {
  for (const [index, [field, adjust]] of invalid.entries()) {
    test(`is refused, naming ${field} (${index})`, () => {
      const prefix = `apply the answer of NRI plugin "10-a" to container "c1": ${field}: `;
      assert.throws(
        () => {
          apply(newContainer(), adjust);
        },
        (error) =>
          isKind(error, "failed-precondition") &&
          error instanceof Error &&
          error.message.startsWith(prefix) &&
          error.message.length < 1000,
      );
    });
  }

  test("all adjustments together have at most 1 MiB", () => {
    const result = newContainer();
    const value = "x".repeat(100_000);
    const add = (index: number): void => {
      apply(result, { env: [{ key: `K${index}`, value }] });
    };
    for (let index = 0; index < 10; index += 1) add(index);
    assert.throws(() => {
      add(10);
    }, /adjust: all adjustments have \d+ bytes, at most 1048576 can be/);
  });
});
