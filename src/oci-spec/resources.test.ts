import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type ErrorKind, isKind } from "../base/errors.ts";
import {
  type LinuxContainerResources,
  LinuxContainerResourcesSchema,
} from "../gen/runtime/v1/api_pb.ts";
import { checkResources, linuxResources, mergedResources, type ResourceHost } from "./resources.ts";

type Init = MessageInitShape<typeof LinuxContainerResourcesSchema>;
const resources = (init: Init): LinuxContainerResources =>
  create(LinuxContainerResourcesSchema, init);
const v2: ResourceHost = { cgroupVersion: 2, hasSwapController: true, hugepageSizes: ["2MB"] };
const v1: ResourceHost = { ...v2, cgroupVersion: 1 };

test("linuxResources() writes nothing for what is zero or empty", () => {
  assert.deepEqual(linuxResources(resources({}), v2), {});
  assert.deepEqual(linuxResources(resources({ oomScoreAdj: 5n }), v2), {});
});

test("linuxResources() writes CPU limits unchanged", () => {
  const given = {
    cpuShares: 2n,
    cpuQuota: -1n,
    cpuPeriod: 100_000n,
    cpusetCpus: "0-2,4",
    cpusetMems: "0",
  };
  assert.deepEqual(linuxResources(resources(given), v2), {
    cpu: { shares: 2n, quota: -1n, period: 100_000n, cpus: "0-2,4", mems: "0" },
  });
});

test("linuxResources() lets a container swap only when asked", () => {
  const memory = (init: Init, host: ResourceHost): unknown =>
    linuxResources(resources(init), host).memory;
  for (const host of [v1, v2]) {
    assert.deepEqual(memory({ memoryLimitInBytes: 100n }, host), { limit: 100n, swap: 100n });
    assert.deepEqual(memory({ memoryLimitInBytes: 100n, memorySwapLimitInBytes: 150n }, host), {
      limit: 100n,
      swap: 150n,
    });
    assert.deepEqual(memory({ memoryLimitInBytes: 100n, memorySwapLimitInBytes: -1n }, host), {
      limit: 100n,
      swap: -1n,
    });
    assert.deepEqual(memory({ memoryLimitInBytes: -1n }, host), { limit: -1n, swap: -1n });
    const without = { ...host, hasSwapController: false };
    assert.deepEqual(memory({ memoryLimitInBytes: 100n }, without), { limit: 100n });
    assert.equal(memory({ memorySwapLimitInBytes: -1n }, without), undefined);
  }
  assert.deepEqual(memory({ memorySwapLimitInBytes: 100n }, v1), { swap: 100n });
});

test("linuxResources() keeps a huge page limit of 0 where the size is counted", () => {
  const pages = (
    hugepageLimits: { pageSize: string; limit: bigint }[],
    host: ResourceHost,
  ): unknown => linuxResources(resources({ hugepageLimits }), host).hugepageLimits;
  const two = { pageSize: "2MB", limit: 0n };
  assert.deepEqual(pages([two, { pageSize: "1GB", limit: 0n }], v2), [two]);
  assert.equal(pages([two], { ...v2, hugepageSizes: [] }), undefined);
  assert.throws(
    () => pages([{ pageSize: "1GB", limit: 1n }], v2),
    (error) => isKind(error, "failed-precondition") && /"1GB", only 2MB/.test(String(error)),
  );
  assert.throws(
    () => pages([{ pageSize: "1GB", limit: 1n }], { ...v2, hugepageSizes: [] }),
    /hugetlb controller is missing/,
  );
});

test("linuxResources() passes unified on v2 alone", () => {
  const given = resources({ unified: { "memory.high": "1", "hugetlb.2MB.max": "0" } });
  assert.deepEqual(linuxResources(given, v2).unified, given.unified);
  assert.throws(() => linuxResources(given, v1), /this node has v1/);
});

test("checkResources() refuses what the kernel would", () => {
  const bad: readonly (readonly [Init, RegExp])[] = [
    [{ cpuShares: -1n }, /cpu_shares/],
    [{ cpuQuota: 999n }, /cpu_quota must be -1 or at least 1000/],
    [{ cpuQuota: -2n }, /cpu_quota/],
    [{ cpuPeriod: 999n }, /cpu_period/],
    [{ cpuPeriod: 1_000_001n }, /cpu_period/],
    [{ cpusetCpus: "0-" }, /cpuset_cpus must be a list/],
    [{ cpusetMems: "a" }, /cpuset_mems/],
    [{ memoryLimitInBytes: -2n }, /memory_limit_in_bytes/],
    [{ memorySwapLimitInBytes: -2n }, /memory_swap_limit_in_bytes/],
    [{ memoryLimitInBytes: 2n, memorySwapLimitInBytes: 1n }, /cannot be less than/],
    [{ memoryLimitInBytes: -1n, memorySwapLimitInBytes: 1n }, /cannot be less than/],
    [{ memorySwapLimitInBytes: 1n }, /needs memory_limit_in_bytes on cgroup v2/],
    [{ oomScoreAdj: 1001n }, /oom_score_adj/],
    [{ oomScoreAdj: -1001n }, /oom_score_adj/],
    [{ hugepageLimits: [{ pageSize: "2M", limit: 0n }] }, /page_size must be as 2MB/],
    [{ unified: { "../x": "1" } }, /is not a resource/],
    [{ unified: { "cgroup.procs": "1" } }, /is not a resource/],
    [{ unified: { memory: "1" } }, /is not a resource/],
  ];
  const kind: ErrorKind = "invalid-argument";
  for (const [init, why] of bad) {
    assert.throws(
      () => checkResources(resources(init), 2),
      (error) => isKind(error, kind) && why.test(String(error)),
      String(why),
    );
  }
  assert.doesNotThrow(() => checkResources(resources({ cpuQuota: 1000n, cpuPeriod: 1000n }), 2));
});

test("mergedResources() keeps what an update does not name", () => {
  const before = resources({
    cpuShares: 10n,
    cpuQuota: 5000n,
    memoryLimitInBytes: 100n,
    memorySwapLimitInBytes: 150n,
    oomScoreAdj: 7n,
    cpusetCpus: "0",
    hugepageLimits: [
      { pageSize: "2MB", limit: 1n },
      { pageSize: "1GB", limit: 1n },
    ],
    unified: { "memory.high": "1", "memory.low": "1" },
  });
  assert.deepEqual(mergedResources(before, resources({})), before);
  const merged = mergedResources(
    before,
    resources({
      cpuShares: 20n,
      oomScoreAdj: 900n,
      hugepageLimits: [{ pageSize: "2MB", limit: 2n }],
      unified: { "memory.high": "2" },
    }),
  );
  assert.equal(merged.cpuShares, 20n);
  assert.equal(merged.cpuQuota, 5000n);
  assert.equal(merged.cpusetCpus, "0");
  assert.equal(merged.oomScoreAdj, 7n);
  assert.equal(merged.memorySwapLimitInBytes, 150n);
  assert.deepEqual(
    merged.hugepageLimits.map(({ pageSize, limit }) => [pageSize, limit]),
    [
      ["1GB", 1n],
      ["2MB", 2n],
    ],
  );
  assert.deepEqual(merged.unified, { "memory.high": "2", "memory.low": "1" });
});

test("mergedResources() lets a new memory limit bring its own swap limit", () => {
  const before = resources({ memoryLimitInBytes: 100n, memorySwapLimitInBytes: 150n });
  const merged = mergedResources(before, resources({ memoryLimitInBytes: 300n }));
  assert.deepEqual(linuxResources(merged, v2).memory, { limit: 300n, swap: 300n });
  const update = resources({ cpuShares: 1n });
  assert.equal(mergedResources(undefined, update), update);
});
