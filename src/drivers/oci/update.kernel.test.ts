import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";

import { kindOf, messageOf } from "../../base/errors.ts";
import type { ContainerLimits } from "../../core/container/index.ts";
import { LinuxContainerResourcesSchema } from "../../gen/runtime/v1/api_pb.ts";
import { memoryInUse } from "../../linux/cgroup/index.ts";
import { TestHost } from "./testing/sandbox.ts";
import { patient } from "../../../test/support/patience.ts";

type Limits = Pick<
  Exclude<MessageInitShape<typeof LinuxContainerResourcesSchema>, { $typeName: string }>,
  "cpuShares" | "cpuQuota" | "memoryLimitInBytes"
>;

const host = await TestHost.open();
const runtime = await host.runtime();
const soon = (): AbortSignal => AbortSignal.timeout(patient(20_000));

after(async () => {
  await host[Symbol.asyncDispose]();
});

async function endOf(id: string): Promise<void> {
  await runtime.killAll(id);
  await runtime.wait(id, soon());
  await runtime.remove(id);
  host.assertGone(id);
}

describe("OciRuntime.update()", () => {
  const limits = (init: Limits): ContainerLimits => ({
    resources: create(LinuxContainerResourcesSchema, init),
    spec: {
      cpu: {
        shares: init.cpuShares ?? 1024n,
        ...(init.cpuQuota === undefined ? {} : { quota: init.cpuQuota }),
      },
      memory: { limit: init.memoryLimitInBytes ?? -1n },
    },
  });
  const value = (id: string, legacy: string, unified: string): string => {
    const { version } = host.cgroups;
    const directory =
      version === "v1" ? `/sys/fs/cgroup/${legacy.split(".")[0] ?? ""}` : "/sys/fs/cgroup";
    return readFileSync(
      `${directory}${host.cgroupPath(id)}/${version === "v1" ? legacy : unified}`,
      "utf8",
    ).trim();
  };
  const shares = (id: string): string => value(id, "cpu.shares", "cpu.weight");
  const memory = (id: string): string => value(id, "memory.limit_in_bytes", "memory.max");

  test("writes limits to a running container, and restores the previous ones", async () => {
    const { id } = await host.start(runtime, { args: ["sleep", "1000"] });
    const before = [shares(id), memory(id)];
    const restore = await runtime.update(
      id,
      limits({ cpuShares: 512n, memoryLimitInBytes: 64n << 20n }),
      soon(),
    );
    assert.match(shares(id), /^(512|20)$/);
    assert.equal(memory(id), String(64 << 20));
    await restore();
    assert.deepEqual([shares(id), memory(id)], before);
    await endOf(id);
  });

  test("removes the quota with -1", async () => {
    const { id } = await host.start(runtime, { args: ["sleep", "1000"] });
    const quota = (): string => value(id, "cpu.cfs_quota_us", "cpu.max");
    await runtime.update(id, limits({ cpuQuota: 50_000n }), soon());
    assert.match(quota(), /^50000/);
    await runtime.update(id, limits({ cpuQuota: -1n }), soon());
    assert.match(quota(), /^(-1|max)/);
    await endOf(id);
  });

  test("changes nothing when the kernel refuses a part", async () => {
    const { id } = await host.start(runtime, { args: ["sleep", "1000"] });
    const before = [shares(id), memory(id)];
    // The shares are written before the CPUs, which do not exist.
    const spec = { cpu: { shares: 512n, cpus: "4000" } };
    await assert.rejects(runtime.update(id, { ...limits({}), spec }, soon()), (error) =>
      ["invalid-argument", "failed-precondition"].includes(kindOf(error)),
    );
    assert.deepEqual([shares(id), memory(id)], before);
    await endOf(id);
  });

  test("refuses less memory than is in use, naming both figures", async () => {
    const args = ["sh", "-c", "x=$(seq 1 1500000); sleep 1000; echo $x"];
    const { id } = await host.start(runtime, { args });
    const cgroup = host.cgroupPath(id);
    let used = 0n;
    while (used < 10_000_000n) used = (await memoryInUse(host.cgroups, cgroup)) ?? 0n;
    const before = memory(id);
    await assert.rejects(
      runtime.update(id, limits({ memoryLimitInBytes: 1n << 20n }), soon()),
      (error) =>
        kindOf(error) === "failed-precondition" &&
        /memory to 1048576 bytes: [1-9][0-9]{7,} bytes are in use/.test(messageOf(error)),
    );
    assert.equal(memory(id), before);
    await endOf(id);
  });

  test("is refused for a container that has just ended", async () => {
    const { id } = await host.start(runtime, { args: ["sleep", "1000"] });
    await runtime.killAll(id);
    await runtime.wait(id, soon());
    await assert.rejects(
      runtime.update(id, limits({ cpuShares: 512n }), soon()),
      (error) => kindOf(error) === "failed-precondition" && /has ended/.test(messageOf(error)),
    );
    await endOf(id);
  });
});
