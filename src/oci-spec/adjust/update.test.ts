import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { LinuxResourcesSchema } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { LinuxContainerResourcesSchema } from "../../gen/runtime/v1/api_pb.ts";
import { updateWithOthers } from "./update.ts";

type Init = MessageInitShape<typeof LinuxResourcesSchema>;

const updated = (init: Init, cgroupVersion: 1 | 2 = 2, unified: Record<string, string> = {}) =>
  updateWithOthers(
    create(LinuxContainerResourcesSchema, { cpuShares: 5n, unified }),
    create(LinuxResourcesSchema, init),
    { cgroupVersion },
  );

describe("updateWithOthers()", () => {
  test("without others the update stays as it is", () => {
    assert.equal(updated({ cpu: { shares: { value: 9n } } }).cpuShares, 5n);
    assert.deepEqual(updated({}, 1).unified, {});
  });

  test("limits of processes and the memory reservation are files of cgroup v2", () => {
    const memory = { reservation: { value: 4096n } };
    assert.deepEqual(updated({ memory, pids: { limit: 9n } }).unified, {
      "pids.max": "9",
      "memory.low": "4096",
    });
    assert.deepEqual(updated({ pids: { limit: -1n } }).unified, { "pids.max": "max" });
    assert.deepEqual(updated({ pids: {} }).unified, { "pids.max": "max" });
    // A plugin may name a file itself.
    assert.deepEqual(updated({ pids: { limit: 9n } }, 2, { "pids.max": "7" }).unified, {
      "pids.max": "7",
    });
  });

  const value = { value: 1n };
  const refused: readonly (readonly [field: string, init: Init, version: 1 | 2])[] = [
    ["blockio_class", { blockioClass: { value: "" } }, 2],
    ["rdt_class", { rdtClass: { value: "gold" } }, 2],
    ["devices", { devices: [{ allow: true, type: "c", access: "rw" }] }, 2],
    ["cpu.realtime_runtime", { cpu: { realtimeRuntime: value } }, 1],
    ["cpu.realtime_period", { cpu: { realtimePeriod: value } }, 2],
    ["memory.kernel", { memory: { kernel: value } }, 2],
    ["memory.kernel_tcp", { memory: { kernelTcp: value } }, 1],
    ["memory.swappiness", { memory: { swappiness: value } }, 1],
    ["memory.disable_oom_killer", { memory: { disableOomKiller: { value: true } } }, 1],
    ["memory.use_hierarchy", { memory: { useHierarchy: { value: true } } }, 2],
    ["memory.reservation", { memory: { reservation: value } }, 1],
    ["memory.reservation", { memory: { reservation: { value: -1n } } }, 2],
    ["pids", { pids: { limit: 9n } }, 1],
  ];
  for (const [field, init, version] of refused) {
    test(`refuses ${field} on cgroup v${version}`, () => {
      assert.throws(
        () => updated(init, version),
        (error) =>
          isKind(error, "failed-precondition") && String(error).includes(`resources.${field}: `),
      );
    });
  }
});
