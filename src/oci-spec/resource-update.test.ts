import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../base/errors.ts";
import {
  type LinuxContainerResources,
  LinuxContainerResourcesSchema,
} from "../gen/runtime/v1/api_pb.ts";
import { resourceUpdate } from "./resource-update.ts";
import type { ResourceHost } from "./resources.ts";

type Init = Exclude<
  MessageInitShape<typeof LinuxContainerResourcesSchema>,
  LinuxContainerResources
>;

const v1: ResourceHost = { cgroupVersion: 1, hasSwapController: true, hugepageSizes: ["2MB"] };
const v2: ResourceHost = { ...v1, cgroupVersion: 2 };
const resources = (init: Init): LinuxContainerResources =>
  create(LinuxContainerResourcesSchema, init);

const update = (
  before: Init | undefined,
  after: Init,
  host = v2,
): ReturnType<typeof resourceUpdate> =>
  resourceUpdate(before === undefined ? undefined : resources(before), resources(after), host);

test("resourceUpdate() writes what the update names, and keeps the rest in force", () => {
  const { inForce, spec } = update(
    { cpuShares: 10n, memoryLimitInBytes: 100n, cpusetCpus: "0" },
    { cpuQuota: 5000n, cpusetCpus: "0-1", unified: { "memory.high": "90" } },
  );
  assert.deepEqual(spec, {
    cpu: { quota: 5000n, cpus: "0-1" },
    unified: { "memory.high": "90" },
  });
  assert.equal(inForce.cpuShares, 10n);
  assert.equal(inForce.cpuQuota, 5000n);
  assert.equal(inForce.memoryLimitInBytes, 100n);
  assert.equal(inForce.cpusetCpus, "0-1");
});

test("resourceUpdate() of nothing writes nothing", () => {
  const { inForce, spec } = update({ cpuShares: 10n, memoryLimitInBytes: 100n }, {});
  assert.deepEqual(spec, {});
  assert.equal(inForce.cpuShares, 10n);
  // A running process keeps its own score.
  assert.deepEqual(update(undefined, { oomScoreAdj: 5n }).spec, {});
});

test("resourceUpdate() writes memory and swap together, on v1 and v2", () => {
  for (const host of [v1, v2]) {
    const both = { memoryLimitInBytes: 100n, memorySwapLimitInBytes: 150n };
    assert.deepEqual(update(both, { memorySwapLimitInBytes: 200n }, host).spec, {
      memory: { limit: 100n, swap: 200n },
    });
    assert.deepEqual(update(both, { memoryLimitInBytes: 120n }, host).spec, {
      memory: { limit: 120n, swap: 120n },
    });
    assert.deepEqual(update(both, { memoryLimitInBytes: -1n }, host).spec, {
      memory: { limit: -1n, swap: -1n },
    });
  }
});

test("resourceUpdate() writes quota and period together: neither takes the other away", () => {
  const both = { cpuQuota: 20_000n, cpuPeriod: 50_000n };
  for (const host of [v1, v2]) {
    assert.deepEqual(update(both, { cpuPeriod: 40_000n }, host).spec, {
      cpu: { quota: 20_000n, period: 40_000n },
    });
    assert.deepEqual(update(both, { cpuQuota: 10_000n }, host).spec, {
      cpu: { quota: 10_000n, period: 50_000n },
    });
    const none = update(both, { cpuQuota: -1n }, host);
    assert.deepEqual(none.spec, { cpu: { quota: -1n, period: 50_000n } });
    assert.equal(none.limits.cpuQuota, -1n);
    assert.deepEqual(update(both, { cpuShares: 5n }, host).spec, { cpu: { shares: 5n } });
  }
});

test("resourceUpdate() refuses what is wrong in itself, and what is with what was there", () => {
  const refused = (before: Init | undefined, after: Init, why: RegExp, host = v2): void => {
    assert.throws(
      () => update(before, after, host),
      (error) => isKind(error, "invalid-argument") && why.test(String(error)),
    );
  };
  refused(undefined, { cpuQuota: 1n }, /check resources: cpu_quota/);
  refused({ memoryLimitInBytes: 100n }, { memorySwapLimitInBytes: 50n }, /cannot be less than/);
  refused(undefined, { memorySwapLimitInBytes: 50n }, /needs memory_limit_in_bytes/);
  refused(undefined, { unified: { "memory.high": "1" } }, /this node has v1/, v1);
  assert.throws(
    () => update(undefined, { hugepageLimits: [{ pageSize: "1GB", limit: 1n }] }),
    (error) => isKind(error, "failed-precondition"),
  );
});
