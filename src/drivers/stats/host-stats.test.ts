import assert from "node:assert/strict";
import { test } from "node:test";

import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ReportedUsage } from "../../core/stats/index.ts";
import { HostStats, type HostStatsDeps } from "./host-stats.ts";

const netDevText = "  eth0: 10 1 2 5 0 0 0 0 30 3 4 6 0 0 0 0\n";

interface Host {
  now: number;
  readonly reads: string[];
  readonly texts: Map<string, string>;
  /** Cgroups and namespaces whose reading never ends. */
  readonly hung: Set<string>;
  /** Cgroups whose files are held. */
  readonly held: Set<string>;
}

function hostStats(more: Partial<HostStatsDeps> = {}): { host: Host; stats: HostStats } {
  const host: Host = { now: 0, reads: [], texts: new Map(), hung: new Set(), held: new Set() };
  const answer = <T>(key: string, value: T): Promise<T> => {
    host.reads.push(key);
    return host.hung.has(key) ? Promise.withResolvers<T>().promise : Promise.resolve(value);
  };
  const stats = new HostStats({
    cgroups: { version: "v2", root: "", controllers: [] },
    roots: {
      directory: "/var/lib/davit",
      usage: (id) => answer(`layer ${id}`, { bytes: 4096n, inodes: 2n }),
    },
    clock: { nowMs: () => host.now, nowNs: () => BigInt(host.now) * 1_000_000n },
    nowMs: () => host.now,
    patienceMs: 20,
    layerPatienceMs: 20,
    files: {
      hold: (paths) => {
        const cgroup = paths[0]?.replace("/cpu.stat", "") ?? "";
        return {
          read: () => {
            host.held.add(cgroup);
            return answer(
              cgroup,
              paths.map((path) => host.texts.get(path) ?? null),
            );
          },
          release: () => host.held.delete(cgroup),
        };
      },
      readInNamespaces: (_path, nets) => Promise.all(nets.map((net) => answer(net, netDevText))),
    },
    ...more,
  });
  return { host, stats };
}

const container = (id: string, name: "created" | "running" = "running"): Container =>
  ({ id, cgroupPath: `/pod/${id}`, state: { name } }) as Container;
const sandbox = (id: string, more: Partial<Sandbox> = {}): Sandbox =>
  ({ id, cgroup: { parent: "/pod" }, netnsPath: `/run/${id}`, ...more }) as Sandbox;

void test("containers() reads a container once a second, with the time of the reading", async () => {
  const { host, stats } = hostStats();
  host.texts.set("/pod/a/cpu.stat", "usage_usec 1000\n");
  host.now = 5000;
  const first = (await stats.containers([container("a")])).get("a");
  host.now = 5900;
  host.texts.set("/pod/a/cpu.stat", "usage_usec 2000\n");
  const same = (await stats.containers([container("a")])).get("a");
  assert.equal(same, first);
  assert.equal(first?.resources?.takenAtNs, 5_000_000_000n);
  assert.equal(first.resources.cpu?.usageNanoCores, undefined);
  host.now = 7000;
  const later = (await stats.containers([container("a")])).get("a");
  // One millisecond of processor time in two seconds.
  assert.deepEqual(later?.resources?.cpu, {
    usageNs: 2_000_000n,
    usageNanoCores: 500_000n,
    pressure: undefined,
  });
  assert.equal(later.resources.takenAtNs, 7_000_000_000n);
  assert.deepEqual(later.writableLayer, {
    takenAtNs: 5_000_000_000n,
    mountpoint: "/var/lib/davit",
    bytes: 4096n,
    inodes: 2n,
  });
  assert.deepEqual(host.reads, ["/pod/a", "layer a", "/pod/a"]);
});

void test("ended() and forget() close a cgroup's files, and so does a long time without a request", async () => {
  const { host, stats } = hostStats();
  const all = ["a", "b", "c"].map((id) => container(id));
  for (const { id } of all) host.texts.set(`/pod/${id}/cpu.stat`, "usage_usec 1000\n");
  await stats.containers(all);
  assert.deepEqual([...host.held], ["/pod/a", "/pod/b", "/pod/c"]);
  stats.ended("a");
  stats.forget("b");
  stats.forget("never seen");
  assert.deepEqual([...host.held], ["/pod/c"]);
  host.now = 400_000;
  await stats.containers([container("a")]);
  assert.deepEqual([...host.held], ["/pod/a"]);
});

void test("containers() gives a created container its layer alone, and asks no cgroup", async () => {
  const { host, stats } = hostStats();
  const found = (await stats.containers([container("a", "created")])).get("a");
  assert.equal(found?.resources, undefined);
  assert.equal(found?.writableLayer?.bytes, 4096n);
  assert.deepEqual(host.reads, ["layer a"]);
});

void test("containers() gives a running container whose cgroup just went no resources", async () => {
  const { stats } = hostStats();
  const found = await stats.containers([container("a")]);
  assert.equal(found.has("a"), true);
  assert.equal(found.get("a")?.resources, undefined);
});

void test("containers() leaves out a cgroup that hangs, and next time does not wait for it", async () => {
  const { host, stats } = hostStats();
  host.texts.set("/pod/a/cpu.stat", "usage_usec 1000\n");
  host.hung.add("/pod/stuck");
  const both = [container("stuck"), container("a")];
  assert.deepEqual([...(await stats.containers(both)).keys()], ["a"]);
  host.now = 600_000;
  assert.deepEqual([...(await stats.containers(both)).keys()], ["a"]);
  assert.equal(host.reads.filter((read) => read === "/pod/stuck").length, 1);
});

void test("containers() answers without a layer that takes long to count", async () => {
  const { host, stats } = hostStats();
  host.texts.set("/pod/a/cpu.stat", "usage_usec 1000\n");
  host.hung.add("layer a");
  const found = (await stats.containers([container("a")])).get("a");
  assert.equal(found?.writableLayer, undefined);
  assert.equal(found?.resources?.cpu?.usageNs, 1_000_000n);
});

void test("pods() gives cgroup and network, and a pod on the host's network none", async () => {
  const { host, stats } = hostStats();
  host.now = 3;
  host.texts.set("/pod/cpu.stat", "usage_usec 7\n");
  host.texts.set("/pod/pids.current", "5\n");
  const { netnsPath: _own, ...onHost } = sandbox("h");
  const found = await stats.pods([sandbox("p"), onHost]);
  assert.equal(found.get("p")?.resources?.cpu?.usageNs, 7_000n);
  assert.equal(found.get("p")?.resources?.tasks, 5n);
  assert.deepEqual(found.get("p")?.network, {
    takenAtNs: 3_000_000n,
    interfaces: [
      {
        name: "eth0",
        rxBytes: 10n,
        rxPackets: 1n,
        rxErrors: 2n,
        rxDropped: 5n,
        txBytes: 30n,
        txPackets: 3n,
        txErrors: 4n,
        txDropped: 6n,
      },
    ],
  });
  assert.equal(found.get("h")?.network, undefined);
  assert.equal(found.get("h")?.resources?.tasks, 5n);
});

/** What a sandboxer answers: a report, none, or nothing at all. */
function reporting(answers: (ReportedUsage | "none" | "hang" | "late")[]): Partial<HostStatsDeps> {
  const usage = async (): Promise<ReportedUsage | undefined> => {
    const answer = answers.shift();
    if (answer === "hang") return Promise.withResolvers<never>().promise;
    if (answer === "late") throw new Error("too late");
    return Promise.resolve(answer === "none" ? undefined : answer);
  };
  const meterOf: HostStatsDeps["meterOf"] = ({ id }) => (id === "vm" ? { usage } : undefined);
  return { meterOf, reportPatienceMs: 20 };
}

const report = (cpuNs: bigint | undefined, takenAtNs = 0n): ReportedUsage => ({
  takenAtNs,
  cpuNs,
  memory: undefined,
  tasks: undefined,
});

void test("pods() prefers what a sandboxer reports, and asks the cgroup for the rest", async () => {
  const { host, stats } = hostStats(reporting([report(5n, 1n), report(9n, 2n)]));
  host.texts.set("/pod/cpu.stat", "usage_usec 7\n");
  host.texts.set("/pod/pids.current", "5\n");
  const found = await stats.pods([sandbox("vm"), sandbox("p")]);
  assert.equal(found.get("vm")?.resources?.cpu?.usageNs, 5n);
  assert.equal(found.get("vm")?.resources?.takenAtNs, 1n);
  assert.equal(found.get("vm")?.resources?.tasks, 5n);
  assert.equal(found.get("p")?.resources?.cpu?.usageNs, 7_000n);
  host.now = 2000;
  const later = (await stats.pods([sandbox("vm")])).get("vm")?.resources;
  assert.deepEqual(later?.cpu, { usageNs: 9n, usageNanoCores: 2n, pressure: undefined });
});

void test("pods() returns the cgroup's usage where a sandboxer reports none, or hangs", async () => {
  for (const answer of ["none", "hang", "late"] as const) {
    const { host, stats } = hostStats(reporting([answer]));
    host.texts.set("/pod/cpu.stat", "usage_usec 7\n");
    const found = await stats.pods([sandbox("vm"), sandbox("p")]);
    assert.equal(found.get("vm")?.resources?.cpu?.usageNs, 7_000n);
    assert.equal(found.get("p")?.resources?.cpu?.usageNs, 7_000n);
  }
});

void test("pods() returns a sandboxer's last report, with its time, when the next one is late", async () => {
  const { host, stats } = hostStats(reporting([report(5n, 1n), "late"]));
  host.texts.set("/pod/cpu.stat", "usage_usec 7\n");
  await stats.pods([sandbox("vm")]);
  host.now = 2000;
  const usage = (await stats.pods([sandbox("vm")])).get("vm")?.resources;
  assert.equal(usage?.cpu?.usageNs, 5n);
  assert.equal(usage.takenAtNs, 1n);
});

void test("pods() returns a pod's cgroup when its namespace does not answer, and omits a hung cgroup", async () => {
  const { host, stats } = hostStats();
  host.texts.set("/pod/cpu.stat", "usage_usec 7\n");
  host.hung.add("/run/p").add("/stuck");
  const found = await stats.pods([
    sandbox("p"),
    sandbox("s", { cgroup: { parent: "/stuck", ownedFrom: undefined } }),
  ]);
  assert.deepEqual([...found.keys()], ["p"]);
  assert.equal(found.get("p")?.network, undefined);
  assert.equal(found.get("p")?.resources?.cpu?.usageNs, 7_000n);
});
