/** Stats through the socket: the usage of containers and pods, and which of them are listed. */
// variants: shim, untuned
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { ContainerStats } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  createIn,
  descriptorsOf,
  inPod,
  isTuned,
  Node,
  runIn,
  script,
  sh,
  stop,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, pod, stopPod } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  // The first pod with a network creates the bridge, which stays.
  await inPod(daemon, pod(), () => Promise.resolve());
});
after(() => node[Symbol.asyncDispose]());

const statsOf = async (containerId: string): Promise<ContainerStats> => {
  const { stats } = await daemon.client.runtime.containerStats({ containerId });
  assert.ok(stats !== undefined);
  return stats;
};

/** How many cgroups the daemon has open to read their usage again and again. */
function held(): number {
  return descriptorsOf(daemon).filter((target) => /\/memory\.stat( \(deleted\))?$/.test(target))
    .length;
}

/** What a number says that must be there. */
function value(number: { readonly value: bigint } | undefined): bigint {
  assert.ok(number !== undefined);
  return number.value;
}

describe("ContainerStats", () => {
  test(
    "report the usage of a running container, and the disk usage of all others",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const limited = { linux: { resources: { memoryLimitInBytes: 64n << 20n } } };
        const busy = await runIn(pod, script("while :; do :; done", limited));
        const created = await createIn(pod);
        const ended = await runIn(pod);
        await stop(daemon, ended);
        await sh(daemon, busy, "head -c 1048576 /dev/zero >/block");
        const stats = await statsOf(busy);
        assert.equal(stats.attributes?.id, busy);
        assert.ok(value(stats.cpu?.usageCoreNanoSeconds) > 0n);
        assert.ok(value(stats.memory?.workingSetBytes) > 0n);
        assert.ok(value(stats.memory?.availableBytes) > 32n << 20n);
        assert.ok(value(stats.writableLayer?.usedBytes) >= 1n << 20n);
        assert.ok(value(stats.writableLayer?.inodesUsed) > 0n);
        for (const id of [created, ended]) {
          const idle = await statsOf(id);
          assert.equal(idle.cpu, undefined);
          assert.equal(idle.memory, undefined);
          assert.ok(idle.writableLayer !== undefined);
        }
        const { stats: all } = await daemon.client.runtime.listContainerStats({});
        assert.deepEqual(
          all.map((one) => one.attributes?.id).sort(),
          [busy, created, ended].sort(),
        );
        await assert.rejects(statsOf("gone"), failsWith(code.notFound));
        assert.equal(held(), isTuned ? 1 : 0);
        await stop(daemon, busy);
        assert.equal(held(), 0);
      }),
    ),
  );

  test(
    "of pods have cgroup, network and containers, for ready pods only",
    leakless(served, () =>
      inPod(daemon, pod(), async (its) => {
        const id = await runIn(its);
        const { stats } = await daemon.client.runtime.podSandboxStats({ podSandboxId: its.id });
        assert.equal(stats?.attributes?.id, its.id);
        assert.equal(stats.linux?.network?.defaultInterface?.name, "eth0");
        assert.deepEqual(stats.linux.network.interfaces, []);
        assert.ok(value(stats.linux.cpu?.usageCoreNanoSeconds) > 0n);
        assert.ok(value(stats.linux.memory?.workingSetBytes) > 0n);
        assert.ok(value(stats.linux.process?.processCount) >= 1n);
        assert.deepEqual(
          stats.linux.containers.map((c) => c.attributes?.id),
          [id],
        );
        const { stats: pods } = await daemon.client.runtime.listPodSandboxStats({});
        assert.deepEqual(
          pods.map((one) => one.attributes?.id),
          [its.id],
        );
        assert.equal(held(), isTuned ? 2 : 0);
        await stopPod(daemon, its.id);
        assert.equal(held(), 0);
        const { stats: none } = await daemon.client.runtime.listPodSandboxStats({});
        assert.deepEqual(none, []);
        const late = daemon.client.runtime.podSandboxStats({ podSandboxId: its.id });
        await assert.rejects(late, failsWith(14, /only a ready sandbox has stats/));
      }),
    ),
  );
});
