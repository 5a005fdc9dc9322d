import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { LinuxContainerResourcesSchema } from "../../gen/runtime/v1/api_pb.ts";
import { cgroupResources } from "./from-request.ts";

test("cgroupResources() takes what is set, and leaves out what is zero or empty", () => {
  const empty = { hugepageLimits: [], unified: {} };
  assert.deepEqual(cgroupResources(create(LinuxContainerResourcesSchema)), empty);
  const all = create(LinuxContainerResourcesSchema, {
    cpuPeriod: 1n,
    cpuQuota: -1n,
    cpuShares: 3n,
    memoryLimitInBytes: 4n,
    memorySwapLimitInBytes: 5n,
    cpusetCpus: "0-1",
    cpusetMems: "0",
    hugepageLimits: [{ pageSize: "2MB", limit: 6n }],
    unified: { "memory.high": "7" },
  });
  assert.deepEqual(cgroupResources(all), {
    cpuPeriod: 1n,
    cpuQuota: -1n,
    cpuShares: 3n,
    memoryLimitBytes: 4n,
    memorySwapLimitBytes: 5n,
    cpusetCpus: "0-1",
    cpusetMems: "0",
    hugepageLimits: [{ pageSize: "2MB", limitBytes: 6n }],
    unified: { "memory.high": "7" },
  });
});
