import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { clone, create, equals, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../../base/errors.ts";
import {
  ContainerAdjustmentSchema,
  CreateContainerResponseSchema,
  CreateContainerRequestSchema,
  Field,
  FieldSchema,
  type LinuxContainerAdjustmentSchema,
  type LinuxCPUSchema,
  type LinuxMemorySchema,
  type LinuxRdtSchema,
  type LinuxResourcesSchema,
  type OwningPlugins,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { adjustmentFields } from "../../../oci-spec/testing/adjustment-fields.ts";
import { CreateResult } from "./create.ts";

type Adjustment = MessageInitShape<typeof ContainerAdjustmentSchema>;
type Linux = MessageInitShape<typeof LinuxContainerAdjustmentSchema>;
type Resources = MessageInitShape<typeof LinuxResourcesSchema>;

interface FieldCase {
  /** Path of the field from ContainerAdjustment, as docs/nri-fields.md has it. */
  readonly field: string;
  /** Who is recorded as its owner; undefined where nobody is. */
  readonly owner: keyof typeof Field | undefined;
  /** The entry, of a field with several. */
  readonly key?: string;
  readonly set: Adjustment;
  /** What takes the value of another plugin away, so that it can be set again. */
  readonly removal?: Adjustment;
  /** Several plugins may add to it. */
  readonly isShared?: true;
}

const linux = (init: Linux): Adjustment => ({ linux: init });
const resources = (init: Resources): Adjustment => linux({ resources: init });
const memory = (init: MessageInitShape<typeof LinuxMemorySchema>): Adjustment =>
  resources({ memory: init });
const cpu = (init: MessageInitShape<typeof LinuxCPUSchema>): Adjustment => resources({ cpu: init });
const rdt = (init: MessageInitShape<typeof LinuxRdtSchema>): Adjustment => linux({ rdt: init });
const value = { value: 100_000n };
const device = { path: "/dev/x", type: "c", major: 10n, minor: 200n };

const cases: readonly FieldCase[] = [
  {
    field: "annotations",
    owner: "Annotations",
    key: "example.org/x",
    set: { annotations: { "example.org/x": "1" } },
    removal: { annotations: { "-example.org/x": "" } },
  },
  {
    field: "mounts",
    owner: "Mounts",
    key: "/data",
    set: { mounts: [{ destination: "/data", type: "bind", source: "/srv" }] },
    removal: { mounts: [{ destination: "-/data" }] },
  },
  {
    field: "env",
    owner: "Env",
    key: "X",
    set: { env: [{ key: "X", value: "1" }] },
    removal: { env: [{ key: "-X" }] },
  },
  {
    field: "hooks",
    owner: "OciHooks",
    set: { hooks: { createRuntime: [{ path: "/bin/hook" }] } },
    isShared: true,
  },
  {
    field: "rlimits",
    owner: "Rlimits",
    key: "RLIMIT_NOFILE",
    set: { rlimits: [{ type: "RLIMIT_NOFILE", soft: 1n, hard: 2n }] },
  },
  {
    field: "CDI_devices",
    owner: "CdiDevices",
    key: "example.org/gpu=0",
    set: { CDIDevices: [{ name: "example.org/gpu=0" }] },
  },
  { field: "args", owner: "Args", set: { args: ["sleep"] }, removal: { args: ["", "true"] } },
  {
    field: "linux.devices",
    owner: "Devices",
    key: "/dev/x",
    set: linux({ devices: [device] }),
    removal: linux({ devices: [{ path: "-/dev/x" }] }),
  },
  { field: "linux.cgroups_path", owner: "CgroupsPath", set: linux({ cgroupsPath: "/a/c1" }) },
  {
    field: "linux.oom_score_adj",
    owner: "OomScoreAdj",
    set: linux({ oomScoreAdj: { value: 5n } }),
  },
  { field: "linux.io_priority", owner: "IoPriority", set: linux({ ioPriority: { class: 2 } }) },
  {
    field: "linux.seccomp_policy",
    owner: "SeccompPolicy",
    set: linux({ seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } }),
  },
  {
    field: "linux.namespaces",
    owner: "Namespace",
    key: "ipc",
    set: linux({ namespaces: [{ type: "ipc", path: "/run/ipc" }] }),
  },
  {
    field: "linux.sysctl",
    owner: "Sysctl",
    key: "net.core.somaxconn",
    set: linux({ sysctl: { "net.core.somaxconn": "9" } }),
    removal: linux({ sysctl: { "-net.core.somaxconn": "" } }),
  },
  {
    field: "linux.net_devices",
    owner: "LinuxNetDevices",
    key: "eth7",
    set: linux({ netDevices: { eth7: { name: "eth0" } } }),
    removal: linux({ netDevices: { "-eth7": {} } }),
  },
  { field: "linux.scheduler", owner: "LinuxSched", set: linux({ scheduler: { policy: 4 } }) },
  {
    field: "linux.memory_policy",
    owner: "MemoryPolicy",
    set: linux({ memoryPolicy: { mode: 2 } }),
  },
  {
    field: "linux.rdt.clos_id",
    owner: "RdtClosID",
    set: rdt({ closId: { value: "gold" } }),
    removal: rdt({ remove: true }),
  },
  {
    field: "linux.rdt.schemata",
    owner: "RdtSchemata",
    set: rdt({ schemata: { value: ["L3:0=f"] } }),
    removal: rdt({ remove: true }),
  },
  {
    field: "linux.rdt.enable_monitoring",
    owner: "RdtEnableMonitoring",
    set: rdt({ enableMonitoring: { value: true } }),
    removal: rdt({ remove: true }),
  },
  { field: "linux.rdt.remove", owner: undefined, set: rdt({ remove: true }), isShared: true },
  { field: "linux.resources.memory.limit", owner: "MemLimit", set: memory({ limit: value }) },
  {
    field: "linux.resources.memory.reservation",
    owner: "MemReservation",
    set: memory({ reservation: value }),
  },
  { field: "linux.resources.memory.swap", owner: "MemSwapLimit", set: memory({ swap: value }) },
  {
    field: "linux.resources.memory.kernel",
    owner: "MemKernelLimit",
    set: memory({ kernel: value }),
  },
  {
    field: "linux.resources.memory.kernel_tcp",
    owner: "MemTCPLimit",
    set: memory({ kernelTcp: value }),
  },
  {
    field: "linux.resources.memory.swappiness",
    owner: "MemSwappiness",
    set: memory({ swappiness: { value: 7n } }),
  },
  {
    field: "linux.resources.memory.disable_oom_killer",
    owner: "MemDisableOomKiller",
    set: memory({ disableOomKiller: { value: true } }),
  },
  {
    field: "linux.resources.memory.use_hierarchy",
    owner: "MemUseHierarchy",
    set: memory({ useHierarchy: { value: true } }),
  },
  { field: "linux.resources.cpu.shares", owner: "CPUShares", set: cpu({ shares: value }) },
  { field: "linux.resources.cpu.quota", owner: "CPUQuota", set: cpu({ quota: value }) },
  { field: "linux.resources.cpu.period", owner: "CPUPeriod", set: cpu({ period: value }) },
  {
    field: "linux.resources.cpu.realtime_runtime",
    owner: "CPURealtimeRuntime",
    set: cpu({ realtimeRuntime: value }),
  },
  {
    field: "linux.resources.cpu.realtime_period",
    owner: "CPURealtimePeriod",
    set: cpu({ realtimePeriod: value }),
  },
  { field: "linux.resources.cpu.cpus", owner: "CPUSetCPUs", set: cpu({ cpus: "0-1" }) },
  { field: "linux.resources.cpu.mems", owner: "CPUSetMems", set: cpu({ mems: "0" }) },
  {
    field: "linux.resources.hugepage_limits",
    owner: "HugepageLimits",
    key: "2MB",
    set: resources({ hugepageLimits: [{ pageSize: "2MB", limit: 4n }] }),
  },
  {
    field: "linux.resources.blockio_class",
    owner: "BlockioClass",
    set: resources({ blockioClass: { value: "slow" } }),
  },
  {
    field: "linux.resources.rdt_class",
    owner: "RdtClass",
    set: resources({ rdtClass: { value: "gold" } }),
  },
  {
    field: "linux.resources.unified",
    owner: "CgroupsUnified",
    key: "memory.high",
    set: resources({ unified: { "memory.high": "1" } }),
  },
  {
    field: "linux.resources.devices",
    owner: undefined,
    set: resources({ devices: [{ allow: true, type: "c", access: "r" }] }),
    isShared: true,
  },
  { field: "linux.resources.pids", owner: "PidsLimit", set: resources({ pids: { limit: 9n } }) },
];

function answer(adjust: Adjustment) {
  return create(CreateContainerResponseSchema, { adjust });
}

function newResult(): CreateResult {
  return new CreateResult(
    create(CreateContainerRequestSchema, { container: { id: "c1", linux: {} } }),
  );
}

function ownerOf(owners: OwningPlugins, { owner, key }: FieldCase): string | undefined {
  const fields = owners.owners["c1"];
  if (fields === undefined) return undefined;
  const field = owner === undefined ? 0 : Field[owner];
  return key === undefined ? fields.simple[field] : fields.compound[field]?.owners[key];
}

describe("fields of ContainerAdjustment", () => {
  test("each has a case here", () => {
    assert.deepEqual(cases.map(({ field }) => field).toSorted(), adjustmentFields().toSorted());
  });

  test("each Field of ownership is that of one case", () => {
    const owners = cases.flatMap(({ owner }) => (owner === undefined ? [] : [owner]));
    const known = FieldSchema.values.map(({ name }) => name).filter((name) => name !== "None");
    assert.deepEqual(owners.toSorted(), known.toSorted());
  });

  test("docs/nri-fields.md has a row for each, with its owner", () => {
    const text = readFileSync(new URL("../../../../docs/nri-fields.md", import.meta.url), "utf8");
    const rows = [...text.matchAll(/^\| `([\w.]+)` \| ([^|]*) \|/gm)].map(
      ([, field = "", owner = ""]) => [field, owner.trim().replaceAll("`", "")],
    );
    const wanted = cases.map(({ field, owner = "none" }) => [field, owner]);
    assert.deepEqual(rows.toSorted(), wanted.toSorted());
  });

  for (const one of cases) {
    test(`${one.field}: is collected, with its owner`, () => {
      const result = newResult();
      const original = result.request;
      const before = clone(CreateContainerRequestSchema, original);
      result.apply(answer(one.set), "10-a");
      assert.ok(result.adjustment);
      assert.ok(
        equals(
          ContainerAdjustmentSchema,
          result.adjustment,
          create(ContainerAdjustmentSchema, one.set),
        ),
      );
      assert.equal(ownerOf(result.owners, one), one.owner === undefined ? undefined : "10-a");
      // Validators are shown the container as it was.
      assert.ok(equals(CreateContainerRequestSchema, original, before));
    });

    test(`${one.field}: ${one.isShared === true ? "can be set by" : "is refused from"} two plugins`, () => {
      const result = newResult();
      result.apply(answer(one.set), "10-a");
      const second = (): void => {
        result.apply(answer(one.set), "20-b");
      };
      if (one.isShared === true) {
        second();
        return;
      }
      assert.throws(
        second,
        (error) =>
          isKind(error, "failed-precondition") &&
          ["c1", "10-a", "20-b", one.owner ?? "", one.key ?? ""].every((word) =>
            String(error).includes(word),
          ),
      );
    });

    if (one.removal === undefined) continue;
    const { removal } = one;
    test(`${one.field}: can be set by the plugin that removed another's`, () => {
      const result = newResult();
      result.apply(answer(one.set), "10-a");
      result.apply(answer(removal), "20-b");
      // "args" has no removal without new ones.
      if (one.field !== "args") {
        assert.equal(ownerOf(result.owners, one), "-20-b");
        assert.throws(() => {
          newAfter(one, removal).apply(answer(one.set), "30-c");
        }, /"20-b" and "30-c" both set/);
        result.apply(answer(one.set), "20-b");
      }
      assert.equal(ownerOf(result.owners, one), "20-b");
    });
  }
});

function newAfter(one: FieldCase, removal: Adjustment): CreateResult {
  const result = newResult();
  result.apply(answer(one.set), "10-a");
  result.apply(answer(removal), "20-b");
  return result;
}
