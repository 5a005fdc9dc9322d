/** UpdateContainerResources: its effect on the cgroup, the status and the next start of the container. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  LinuxContainerResources,
  LinuxContainerResourcesSchema,
} from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  type ContainerInit,
  container,
  containerStatus,
  createIn,
  exited,
  inPod,
  Node,
  type Pod,
  runIn,
  script,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupValue,
  code,
  failsWith,
  launchDaemon,
  leakless,
  parentOf,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

type Limits = Exclude<
  MessageInitShape<typeof LinuxContainerResourcesSchema>,
  LinuxContainerResources
>;

const mib = 1n << 20n;
const limits: Limits = {
  cpuShares: 1024n,
  cpuPeriod: 100_000n,
  cpuQuota: 50_000n,
  memoryLimitInBytes: 64n * mib,
};

const update = (containerId: string, linux: Limits): Promise<unknown> =>
  daemon.client.runtime.updateContainerResources({ containerId, linux });

const limited = (linux: Limits = limits): ContainerInit =>
  container({ linux: { resources: linux } });

/** The resources that the status shows, without what is 0 or empty. */
async function shown(id: string): Promise<Limits> {
  const { resources } = await containerStatus(daemon, id);
  const known = Object.entries(resources?.linux ?? {}).filter(
    ([name, value]) => !name.startsWith("$") && typeof value !== "object" && Boolean(value),
  );
  return Object.fromEntries(known);
}

/** What the cgroup has: shares or weight, quota, memory. */
function inForce({ config }: Pod, id: string): readonly string[] {
  const cgroup = `${parentOf(config)}/${id}`;
  return [
    cgroupValue(cgroup, "cpu.shares", "cpu.weight"),
    cgroupValue(cgroup, "cpu.cfs_quota_us", "cpu.max"),
    cgroupValue(cgroup, "memory.limit_in_bytes", "memory.max"),
  ];
}

/** Runs a test in a pod that leaves nothing. */
function inBarePod(run: (pod: Pod) => Promise<void>): ReturnType<typeof leakless> {
  return leakless(served, () => inPod(daemon, bare(), run));
}

describe("UpdateContainerResources of a running container", () => {
  test(
    "is in the cgroup and the status immediately, and keeps what it does not name",
    inBarePod(async (pod) => {
      const id = await runIn(pod, limited());
      await update(id.slice(0, 40), { cpuShares: 512n, memoryLimitInBytes: 96n * mib });
      assert.deepEqual(await shown(id), {
        ...limits,
        cpuShares: 512n,
        memoryLimitInBytes: 96n * mib,
      });
      const [weight, quota, memory] = inForce(pod, id);
      assert.match(weight ?? "", /^(512|20)$/);
      assert.match(quota ?? "", /^50000/);
      assert.equal(memory, String(96n * mib));
      await update(id, { cpuQuota: -1n, memoryLimitInBytes: 32n * mib });
      assert.match(inForce(pod, id)[1] ?? "", /^(-1|max)/);
      assert.equal(inForce(pod, id)[2], String(32n * mib));
    }),
  );

  test(
    "is seen from inside",
    inBarePod(async (pod) => {
      const id = await runIn(pod, limited());
      const inside = (): Promise<string> =>
        sh(
          daemon,
          id,
          "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
        );
      assert.equal(await inside(), String(64n * mib));
      await update(id, { memoryLimitInBytes: 80n * mib });
      assert.equal(await inside(), String(80n * mib));
    }),
  );

  test(
    "that names nothing changes nothing",
    inBarePod(async (pod) => {
      const id = await runIn(pod, limited());
      const before = inForce(pod, id);
      await update(id, {});
      await daemon.client.runtime.updateContainerResources({
        containerId: id,
        annotations: { some: "plugin" },
      });
      assert.deepEqual(inForce(pod, id), before);
      assert.deepEqual(await shown(id), limits);
    }),
  );

  test(
    "is refused as a whole if a limit is invalid or a CPU does not exist",
    inBarePod(async (pod) => {
      const id = await runIn(pod, limited());
      const before = inForce(pod, id);
      const refused: readonly (readonly [Limits, RegExp])[] = [
        [{ cpuShares: 3n, cpuQuota: 5n }, /cpu_quota must be -1 or at least 1000/],
        [{ cpuShares: 3n, cpusetCpus: "a" }, /cpuset_cpus/],
        [{ cpuShares: 3n, memorySwapLimitInBytes: mib }, /cannot be less than/],
        [{ cpuShares: 3n, hugepageLimits: [{ pageSize: "2 MB", limit: 0n }] }, /page_size/],
      ];
      for (const [wrong, why] of refused) {
        await assert.rejects(update(id, wrong), failsWith(code.invalidArgument, why));
      }
      // Only the kernel rejects this, and the shares are written before.
      await assert.rejects(update(id, { cpuShares: 3n, cpusetCpus: "4000" }), /write-limits/);
      assert.deepEqual(inForce(pod, id), before);
      assert.deepEqual(await shown(id), limits);
    }),
  );

  test(
    "is refused for less memory than it uses, with both figures",
    inBarePod(async (pod) => {
      const config = script("x=$(seq 1 1500000); echo up > /up; sleep 100000; echo $x", {
        linux: { resources: limits },
      });
      const id = await runIn(pod, config);
      await sh(daemon, id, "until [ -s /up ]; do sleep 0.05; done");
      const before = inForce(pod, id);
      await assert.rejects(
        update(id, { cpuShares: 3n, memoryLimitInBytes: mib }),
        failsWith(code.failedPrecondition, /memory to 1048576 bytes: [1-9]\d{7,} bytes are in use/),
      );
      assert.deepEqual(inForce(pod, id), before);
      assert.deepEqual(await shown(id), limits);
    }),
  );

  test(
    "of a period leaves the quota, and of a quota the period",
    inBarePod(async (pod) => {
      const id = await runIn(pod, limited());
      await update(id, { cpuQuota: 20_000n, cpuPeriod: 50_000n });
      await update(id, { cpuPeriod: 40_000n });
      assert.match(inForce(pod, id)[1] ?? "", /^20000( 40000)?$/);
      await update(id, { cpuQuota: 30_000n });
      assert.match(inForce(pod, id)[1] ?? "", /^30000( 40000)?$/);
      const { cpuQuota, cpuPeriod } = await shown(id);
      assert.deepEqual([cpuQuota, cpuPeriod], [30_000n, 40_000n]);
    }),
  );

  test("survives a restart", async () => {
    await inPod(daemon, bare(), async (pod) => {
      const id = await runIn(pod, limited());
      await update(id, { cpuShares: 512n });
      const before = inForce(pod, id);
      await daemon.stop();
      await launchDaemon(daemon);
      assert.deepEqual(await shown(id), { ...limits, cpuShares: 512n });
      assert.deepEqual(inForce(pod, id), before);
      await update(id, { cpuShares: 256n });
      assert.match(inForce(pod, id)[0] ?? "", /^(256|10)$/);
    });
  });

  test(
    "at the same time are applied one after the other",
    inBarePod(async (pod) => {
      const id = await runIn(pod, limited());
      const sizes = [40n, 48n, 56n, 72n, 88n].map((size) => size * mib);
      await Promise.all(sizes.map((memoryLimitInBytes) => update(id, { memoryLimitInBytes })));
      const { memoryLimitInBytes } = await shown(id);
      assert.equal(inForce(pod, id)[2], String(memoryLimitInBytes));
    }),
  );
});

test(
  "UpdateContainerResources of a created container applies from its start",
  inBarePod(async (pod) => {
    const id = await createIn(pod, limited());
    await update(id, { memoryLimitInBytes: 80n * mib, cpuQuota: 20_000n });
    assert.equal((await shown(id)).memoryLimitInBytes, 80n * mib);
    await assert.rejects(update(id, { cpuPeriod: 5n }), failsWith(code.invalidArgument));
    await start(daemon, id);
    const [, quota, memory] = inForce(pod, id);
    assert.match(quota ?? "", /^20000/);
    assert.equal(memory, String(80n * mib));
  }),
);

test(
  "UpdateContainerResources of a container that has exited or does not exist is refused",
  inBarePod(async (pod) => {
    const id = await runIn(pod, limited());
    await stop(daemon, id);
    await exited(daemon, id);
    await assert.rejects(
      update(id, { cpuShares: 2n }),
      failsWith(code.failedPrecondition, /exited, neither created nor running/),
    );
    await assert.rejects(update("0".repeat(64), {}), failsWith(code.notFound));
    await assert.rejects(update("", {}), failsWith(code.invalidArgument));
    assert.deepEqual(await shown(id), limits);
  }),
);

test(
  "UpdateContainerResources refuses resources for Windows",
  inBarePod(async (pod) => {
    const id = await createIn(pod);
    const windows = { cpuShares: 2n };
    await assert.rejects(
      daemon.client.runtime.updateContainerResources({ containerId: id, windows }),
      failsWith(code.invalidArgument, /Windows/),
    );
  }),
);
