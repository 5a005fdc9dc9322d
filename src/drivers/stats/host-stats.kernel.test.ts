import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { testMark } from "../../../test/support/belongs.ts";
import { systemClock } from "../../base/time.ts";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import {
  cgroupProcsPaths,
  createCgroup,
  detectCgroups,
  killCgroup,
  removeCgroup,
  writeResources,
} from "../../linux/cgroup/index.ts";
import { makePrivateBind, unmount } from "../../linux/mount/index.ts";
import { pinNamespaces, unpinNamespace } from "../../linux/namespace/index.ts";
import { run, spawnChildInPool } from "../../linux/process/index.ts";
import { HostStats } from "./host-stats.ts";

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const layout = detectCgroups();
const parent = `/${testMark}-stats`;
const path = `${parent}/container`;
const dir = mkdtempSync(join(tmpdir(), "davit-stats-"));
const net = join(dir, "net");
const limit = 64n << 20n;

before(async () => {
  await makePrivateBind(dir);
  await pinNamespaces({ net });
  await createCgroup(layout, path);
  await writeResources(layout, path, { memoryLimitBytes: limit });
});
after(async () => {
  await killCgroup(layout, parent);
  await removeCgroup(layout, parent);
  await unpinNamespace(net);
  await unmount(dir);
  rmSync(dir, { recursive: true });
});

const container = { id: "c", cgroupPath: path, state: { name: "running" } } as Container;
const sandbox = { id: "p", cgroup: { parent }, netnsPath: net } as Sandbox;

let skippedMs = 0;
const stats = new HostStats({
  cgroups: layout,
  roots: { directory: dir, usage: () => Promise.resolve({ bytes: 1n, inodes: 1n }) },
  clock: systemClock,
  nowMs: () => performance.now() + skippedMs,
});

/** Starts a shell in the container's cgroup and waits for its first line. */
async function startIn(script: string): Promise<void> {
  const child = await spawnChildInPool({
    file: "sh",
    args: ["-c", script],
    env,
    stdout: "pipe",
    cgroupProcsPaths: cgroupProcsPaths(layout, path),
  });
  for await (const _line of child.stdout ?? []) break;
}

test("HostStats reads what processes use in a real cgroup", async () => {
  // A file of 8 MiB in a tmpfs is memory of the cgroup; the loop takes processor time.
  const script = `head -c 8388608 /dev/zero >${dir}/block; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; exec sleep 60`;
  const mounted = await run({
    file: "mount",
    args: ["-t", "tmpfs", "tmpfs", dir],
    env,
    timeoutMs: 10_000,
  });
  assert.equal(mounted.code, 0);
  try {
    await startIn(script);
    const begin = BigInt(Date.now()) * 1_000_000n;
    const { resources } = (await stats.containers([container])).get("c") ?? {};
    assert.ok(resources?.cpu !== undefined && resources.memory !== undefined);
    const { cpu, memory, takenAtNs } = resources;
    assert.ok(cpu.usageNs > 10_000_000n, `cpu ${cpu.usageNs}`);
    assert.ok(memory.workingSet > 8n << 20n && memory.workingSet <= memory.usage);
    assert.ok(memory.usage < limit);
    assert.ok(Number(memory.pageFaults) > 100);
    assert.equal(memory.available, limit - memory.workingSet);
    assert.ok(takenAtNs >= begin && takenAtNs <= systemClock.nowNs());
    skippedMs += 2000;
    const later = (await stats.containers([container])).get("c")?.resources;
    assert.ok(later?.cpu?.usageNanoCores !== undefined, "there is a rate now");
  } finally {
    await killCgroup(layout, path);
    await unmount(dir);
  }
});

test("HostStats counts a pod's containers in the pod's own cgroup", async () => {
  await startIn("echo; exec sleep 60");
  skippedMs += 2000;
  const resources = (await stats.pods([sandbox])).get("p")?.resources;
  assert.equal(resources?.tasks, 1n);
  assert.ok(Number(resources.memory?.usage) > 0);
  assert.equal(resources.memory?.available, undefined);
  await killCgroup(layout, path);
});

test("HostStats reads the counters of a real network namespace", async () => {
  const script =
    "ip link add eth0 type veth peer name peer0 && ip addr add 10.9.8.1/24 dev eth0 && " +
    "ip link set eth0 up && ip link set peer0 up";
  const result = await run({
    file: "sh",
    args: ["-c", script],
    env,
    joinNamespaces: [net],
    timeoutMs: 10_000,
  });
  assert.equal(result.code, 0, result.stderr.toString());
  skippedMs += 2000;
  const network = (await stats.pods([sandbox])).get("p")?.network;
  assert.deepEqual(network?.interfaces.map(({ name }) => name).sort(), ["eth0", "peer0"]);
  const own = readFileSync("/proc/self/net/dev", "latin1");
  assert.equal(own.includes("peer0"), false);
});

test("HostStats answers for a cgroup and a namespace that are gone", async () => {
  const gone = {
    id: "gone",
    cgroup: { parent: `${parent}/gone` },
    netnsPath: join(dir, "gone"),
  } as Sandbox;
  assert.deepEqual((await stats.pods([gone])).get("gone"), {
    resources: undefined,
    network: undefined,
  });
});
