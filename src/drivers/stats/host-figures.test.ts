import assert from "node:assert/strict";
import { test } from "node:test";

import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { FigureKernel } from "./host-figures.ts";
import { HostStats, type HostStatsDeps } from "./host-stats.ts";

interface Host {
  now: number;
  readonly reads: string[];
  /** Cgroups, directories and namespaces whose reading never ends. */
  readonly hung: Set<string>;
  /** Cgroups whose files are held. */
  readonly held: Set<string>;
  hasHugePages: boolean;
  /** What the files of huge pages say. */
  hugePages: string;
}

const netDevText = "  eth0: 10 1 2 5 0 0 0 0 30 3 4 6 0 0 0 0\n";

function hostStats(
  more: Partial<HostStatsDeps> & { readonly pageSizes?: readonly string[] } = {},
): { host: Host; stats: HostStats } {
  const host: Host = {
    now: 0,
    reads: [],
    hung: new Set(),
    held: new Set(),
    hasHugePages: false,
    hugePages: "0\n",
  };
  const answer = <T>(key: string, value: T): Promise<T> => {
    host.reads.push(key);
    return host.hung.has(key) ? Promise.withResolvers<T>().promise : Promise.resolve(value);
  };
  const figureKernel: FigureKernel = {
    hold: (paths) => {
      const cgroup = paths[0]?.replace("/cpu.stat", "") ?? "";
      return {
        read: () => {
          host.held.add(cgroup);
          const texts = paths.map((path) => (path.endsWith("/cpu.stat") ? "usage_usec 7\n" : null));
          return answer(cgroup, cgroup.endsWith("gone") ? paths.map(() => null) : texts);
        },
        release: () => host.held.delete(cgroup),
      };
    },
    read: (paths) =>
      answer(
        paths.some((path) => path.includes("hugetlb")) ? "huge pages" : "slow",
        paths.map((path) => {
          if (path.endsWith("/pids.max")) return "42\n";
          return path.includes("hugetlb") ? host.hugePages : null;
        }),
      ),
    openFiles: (directories) =>
      Promise.all(
        directories.map((directory) =>
          answer(
            `open ${directory}`,
            directory.endsWith("gone") ? undefined : { processes: 2, descriptors: 9, sockets: 1 },
          ),
        ),
      ),
    fileSystem: () =>
      answer("file system", { device: "/dev/sda", bytes: 9n, inodes: 8n, freeInodes: 7n }),
    pageSizes: () => more.pageSizes ?? [],
    hasHugePages: () => host.hasHugePages,
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
      hold: () => ({ read: () => Promise.resolve([]), release: () => undefined }),
      readInNamespaces: (_path, nets) => Promise.all(nets.map((net) => answer(net, netDevText))),
    },
    figureKernel,
    ...more,
  });
  return { host, stats };
}

const container = (id: string): Container =>
  ({ id, cgroupPath: `/pod/${id}`, state: { name: "running", process: { pid: 1 } } }) as Container;
const sandbox = (id: string): Sandbox =>
  ({ id, cgroup: { parent: "/pod" }, netnsPath: `/run/${id}` }) as Sandbox;

void test("figures() has all parts, each with the time of its reading, and shares them for 5 s", async () => {
  const { host, stats } = hostStats();
  host.now = 1000;
  const first = await stats.figures([sandbox("p")], [container("a")]);
  const of = first.containers.get("a");
  assert.equal(of?.seenAtNs, 1_000_000_000n);
  assert.equal(of.cgroup?.cpu?.usageNs, 7000n);
  assert.equal(of.cgroup.takenAtNs, 1_000_000_000n);
  assert.equal(of.slow?.maxTasks, 42n);
  assert.deepEqual(of.slow.open, { processes: 2, descriptors: 9, sockets: 1 });
  assert.equal(of.writableLayer?.bytes, 4096n);
  assert.equal(first.pods.get("p")?.network?.interfaces[0]?.rxDropped, 5n);
  assert.equal(first.pods.get("p")?.reported, undefined);
  assert.equal(first.fileSystem?.device, "/dev/sda");
  const all = host.reads.toSorted();
  assert.deepEqual(all, ["/pod/a", "/run/p", "file system", "layer a", "open /pod/a", "slow"]);

  host.now = 5900;
  const same = await stats.figures([sandbox("p")], [container("a")]);
  assert.equal(host.reads.length, 6);
  assert.equal(same.containers.get("a")?.seenAtNs, 5_900_000_000n);
  assert.equal(same.containers.get("a")?.cgroup, of.cgroup);
  host.now = 6000;
  await stats.figures([sandbox("p")], [container("a")]);
  assert.deepEqual(host.reads.slice(6).sort(), ["/pod/a", "/run/p"]);
  host.now = 11_000;
  await stats.figures([sandbox("p")], [container("a")]);
  assert.equal(host.reads.filter((read) => read === "slow").length, 2);
});

void test("figures() reads the huge pages of a container once, and again when the host has some", async () => {
  const { host, stats } = hostStats({ pageSizes: ["2MB"] });
  const usage = async (): Promise<readonly (bigint | undefined)[]> => {
    host.now += 11_000;
    const of = (await stats.figures([], [container("a")])).containers.get("a");
    assert.equal(of?.slow?.maxTasks, 42n);
    assert.equal(of.slow.takenAtNs, BigInt(host.now) * 1_000_000n);
    return of.slow.hugePages.map((pages) => pages.usage);
  };
  const reads = (): readonly string[] =>
    host.reads.splice(0).filter((read) => read === "slow" || read === "huge pages");
  assert.deepEqual([await usage(), reads()], [[0n], ["huge pages"]]);
  assert.deepEqual([await usage(), reads()], [[0n], ["slow"]]);
  host.hasHugePages = true;
  host.hugePages = "2097152\n";
  assert.deepEqual([await usage(), reads()], [[2_097_152n], ["huge pages"]]);
  // They were taken from the pool while the container still has some.
  host.hasHugePages = false;
  assert.deepEqual([await usage(), reads()], [[2_097_152n], ["huge pages"]]);
});

void test("figures() reads once for all who ask at the same time, also at the first time", async () => {
  const { host, stats } = hostStats();
  const both = [stats.figures([], [container("a")]), stats.figures([], [container("a")])];
  const [one, other] = await Promise.all(both);
  assert.equal(one?.containers.get("a")?.cgroup, other?.containers.get("a")?.cgroup);
  assert.equal(host.reads.filter((read) => read === "/pod/a").length, 1);
});

void test("figures() leaves out a container that hangs, and next time does not wait for it", async () => {
  const { host, stats } = hostStats();
  host.hung.add("/pod/stuck").add("layer stuck").add("/run/p").add("file system");
  const all = [container("stuck"), container("a")];
  const found = await stats.figures([sandbox("p"), sandbox("q")], all);
  assert.deepEqual([...found.containers.keys()], ["a"]);
  assert.equal(found.pods.get("p")?.network, undefined);
  assert.equal(found.fileSystem, undefined);
  host.now = 60_000;
  const later = await stats.figures([sandbox("p"), sandbox("q")], all);
  assert.deepEqual([...later.containers.keys()], ["a"]);
  assert.equal(host.reads.filter((read) => read === "/pod/stuck").length, 1);
});

void test("figures() has a container without what is slow, when that hangs", async () => {
  const { host, stats } = hostStats();
  host.hung.add("open /pod/a");
  const of = (await stats.figures([], [container("a"), container("b")])).containers;
  assert.equal(of.get("a")?.cgroup?.cpu?.usageNs, 7000n);
  assert.equal(of.get("a")?.slow, undefined);
});

void test("figures() has a container that has no cgroup on this host", async () => {
  const { stats } = hostStats();
  const of = (await stats.figures([], [container("gone")])).containers.get("gone");
  assert.ok(of !== undefined);
  assert.equal(of.cgroup, undefined);
  assert.deepEqual([of.slow?.open, of.slow?.maxTasks], [undefined, undefined]);
});

void test("figures() has what a sandboxer reports of a pod, and nothing in its place", async () => {
  const usage = () => Promise.resolve({ takenAtNs: 5n, cpuNs: 9n, memory: undefined, tasks: 3n });
  const meterOf: HostStatsDeps["meterOf"] = ({ id }) => (id === "vm" ? { usage } : undefined);
  const { stats } = hostStats({ meterOf });
  const { pods } = await stats.figures([sandbox("vm"), sandbox("p")], []);
  assert.equal(pods.get("vm")?.reported?.cpu?.usageNs, 9n);
  assert.equal(pods.get("vm")?.reported?.tasks, 3n);
  assert.equal(pods.get("p")?.reported, undefined);
});

void test("ended() and forget() close the files of a container", async () => {
  const { host, stats } = hostStats();
  stats.ended("early");
  await stats.figures([], ["a", "b", "c"].map(container));
  assert.deepEqual([...host.held], ["/pod/a", "/pod/b", "/pod/c"]);
  stats.ended("a");
  stats.forget("b");
  assert.deepEqual([...host.held], ["/pod/c"]);
  host.now = 400_000;
  await stats.figures([], [container("a")]);
  assert.deepEqual([...host.held], ["/pod/a"]);
});
