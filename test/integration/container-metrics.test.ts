/** The CRI's metrics through the socket: names, labels, and values compared with those of the kernel. */
// variants: shim, untuned
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync, statfsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { noStuckDisk, StuckDisk } from "../support/stuck-disk.ts";
import {
  busybox,
  containerStatus,
  createIn,
  descriptorsOf,
  inPod,
  isTuned,
  Node,
  pidOf,
  runIn,
  script,
  sh,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupsThere,
  cgroupValue,
  freeze,
  inside,
  leakless,
  pod,
  stopPod,
  until,
} from "../support/suites/pods.ts";
import {
  expectedNames,
  isOptional,
  labelKeys,
  listMetrics,
  type MetricsOf,
  metricsById,
} from "../support/suites/metrics.ts";

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

/** The limits of the container in the conformance suite. */
const resources = {
  cpuPeriod: 100_000n,
  cpuQuota: 20_000n,
  cpuShares: 1024n,
  memoryLimitInBytes: 64n << 20n,
  memorySwapLimitInBytes: 64n << 20n,
};
const limited = { linux: { resources } };

async function metricsOf(id: string): Promise<MetricsOf> {
  const found = (await listMetrics(daemon)).get(id);
  assert.ok(found !== undefined, `${id} has metrics`);
  return found;
}

/** How many containers the daemon has open to read their figures again and again. */
function held(): number {
  const figures = /\/memory\.(events|max_usage_in_bytes)( \(deleted\))?$/;
  return descriptorsOf(daemon).filter((target) => figures.test(target)).length;
}

/** A number of a flat keyed file of the cgroup. */
function counter(cgroup: string, files: readonly string[], key: string): bigint {
  const [, value] = new RegExp(`^${key} (\\d+)$`, "m").exec(cgroupValue(cgroup, ...files)) ?? [];
  assert.ok(value !== undefined, `${files.join(" or ")} has ${key}`);
  return BigInt(value);
}

/** A number of the cgroup's memory.stat, by the first name that it has. */
function stat(cgroup: string, ...keys: readonly string[]): bigint {
  const text = cgroupValue(cgroup, "memory.stat");
  const key = keys.find((each) => new RegExp(`^${each} `, "m").test(text)) ?? "";
  return counter(cgroup, ["memory.stat"], key);
}

/** Memory of the cgroup, by the names of the metrics. */
function memoryOf(cgroup: string): Readonly<Record<string, bigint>> {
  return {
    memory_usage_bytes: BigInt(cgroupValue(cgroup, "memory.usage_in_bytes", "memory.current")),
    memory_rss: stat(cgroup, "total_rss", "anon"),
    memory_cache: stat(cgroup, "total_cache", "file"),
    memory_mapped_file: stat(cgroup, "total_mapped_file", "file_mapped"),
  };
}

function isNear(value: bigint, expected: bigint, by: bigint): void {
  const difference = value > expected ? value - expected : expected - value;
  assert.ok(difference <= by, `${value} is near ${expected}`);
}

/** Processor time that the cgroup has used, in nanoseconds. */
function usedNs(cgroup: string): bigint {
  return existsSync("/sys/fs/cgroup/cgroup.controllers")
    ? counter(cgroup, ["cpu.stat"], "usage_usec") * 1000n
    : BigInt(cgroupValue(cgroup, "cpuacct.usage"));
}

function checkCpu(of: MetricsOf, cgroup: string): void {
  assert.equal(
    of.value("cpu_usage_seconds_total", { cpu: "total" }),
    usedNs(cgroup) / 1_000_000_000n,
  );
  const usage = of.value("cpu_usage_seconds_total");
  assert.ok(of.value("cpu_user_seconds_total") + of.value("cpu_system_seconds_total") <= usage);
  assert.equal(
    of.value("cpu_cfs_throttled_periods_total"),
    counter(cgroup, ["cpu.stat"], "nr_throttled"),
  );
  assert.ok(of.value("cpu_cfs_periods_total") > of.value("cpu_cfs_throttled_periods_total") / 2n);
  const throttledNs = /throttled_usec/.test(cgroupValue(cgroup, "cpu.stat"))
    ? counter(cgroup, ["cpu.stat"], "throttled_usec") * 1000n
    : counter(cgroup, ["cpu.stat"], "throttled_time");
  assert.equal(of.value("cpu_cfs_throttled_seconds_total"), throttledNs / 1_000_000_000n);
}

async function checkProcesses(of: MetricsOf, cgroup: string, id: string): Promise<void> {
  const pids = cgroupValue(cgroup, "cgroup.procs").split("\n").map(Number);
  const targets = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)),
  );
  const sockets = targets.filter((target) => target.startsWith("socket:"));
  assert.equal(of.value("processes"), BigInt(pids.length));
  assert.equal(of.value("file_descriptors"), BigInt(targets.length));
  assert.equal(of.value("sockets"), BigInt(sockets.length));
  assert.ok(sockets.length >= 2 && targets.some((target) => target.endsWith("/written")));
  assert.equal(of.value("threads"), BigInt(cgroupValue(cgroup, "pids.current")));
  const most = cgroupValue(cgroup, "pids.max");
  assert.equal(of.value("threads_max"), most === "max" ? 0n : BigInt(most));
  const limits = readFileSync(`/proc/${await pidOf(daemon, id)}/limits`, "utf8");
  const [, openFiles = ""] = /^Max open files +(\d+)/m.exec(limits) ?? [];
  assert.equal(of.value("ulimits_soft", { ulimit: "max_open_files" }), BigInt(openFiles));
}

async function checkNetwork(podId: string): Promise<void> {
  const ofPod = await metricsOf(podId);
  const link = JSON.parse(
    await inside(daemon, podId, ["net"], "ip", "-json", "-s", "link", "show", "eth0"),
  ) as readonly { readonly stats64: Record<"rx" | "tx", Record<string, number>> }[];
  const { rx, tx } = link[0]?.stats64 ?? {};
  assert.ok(rx !== undefined && tx !== undefined);
  const eth0 = { interface: "eth0" };
  assert.ok((tx["packets"] ?? 0) > 0);
  // The bridge may send something between the two readings.
  isNear(ofPod.value("network_receive_bytes_total", eth0), BigInt(rx["bytes"] ?? 0), 2000n);
  isNear(ofPod.value("network_receive_packets_total", eth0), BigInt(rx["packets"] ?? 0), 20n);
  for (const [name, value] of [
    ["transmit_bytes", tx["bytes"]],
    ["transmit_packets", tx["packets"]],
    ["transmit_packets_dropped", tx["dropped"]],
    ["transmit_errors", tx["errors"]],
    ["receive_errors", rx["errors"]],
    ["receive_packets_dropped", rx["dropped"]],
  ] as const) {
    assert.equal(ofPod.value(`network_${name}_total`, eth0), BigInt(value ?? -1), name);
  }
  assert.deepEqual(
    ofPod.all("network_receive_bytes_total").map(({ labels }) => labels["interface"]),
    ["eth0"],
  );
}

test("ListMetricDescriptors has the names of the conformance suite, with help and labels", async () => {
  const { descriptors } = await daemon.client.runtime.listMetricDescriptors({});
  assert.deepEqual(
    descriptors.map(({ name }) => name),
    expectedNames.map((name) => `container_${name}`),
  );
  for (const { help, labelKeys: keys } of descriptors) {
    assert.match(help, /^[A-Z].*\.$/);
    assert.deepEqual(keys.slice(0, 6), ["container", "id", "image", "name", "namespace", "pod"]);
  }
});

describe("ListPodSandboxMetrics", () => {
  test(
    "has a sample of each mandatory name for the container of the conformance suite",
    leakless(served, () =>
      inPod(daemon, pod(), async (its) => {
        const id = await runIn(its, script("exec sleep 100000", limited));
        await sh(
          daemon,
          id,
          "mkdir -p /var/lib/test; for i in $(seq 10); do echo hi >/var/lib/test/$i; done; sync",
        );
        const all = await listMetrics(daemon);
        const ofContainer = all.get(id)?.names ?? [];
        const ofPod = all.get(its.id)?.names ?? [];
        const found = new Set([...ofContainer, ...ofPod]);
        assert.deepEqual(
          expectedNames.filter((name) => !found.has(name) && !isOptional(name)),
          [],
        );
        assert.ok(ofPod.every((name) => name.startsWith("network_")));
        assert.equal(
          ofContainer.some((name) => name.startsWith("network_")),
          false,
        );
      }),
    ),
  );

  test(
    "names the objects as cAdvisor does, and has the limits in force",
    leakless(served, () =>
      inPod(daemon, pod(), async (its) => {
        const id = await runIn(its, script("exec sleep 100000", limited));
        const ofContainer = await metricsOf(id);
        const { metadata, startedAt } = await containerStatus(daemon, id);
        const { labels } = ofContainer.one("memory_rss");
        assert.deepEqual(
          { ...labels, id: undefined },
          {
            container: metadata?.name,
            id: undefined,
            image: busybox,
            name: id,
            namespace: its.config.metadata?.namespace,
            pod: its.config.metadata?.name,
          },
        );
        assert.ok(cgroupsThere(labels["id"] ?? "").length > 0, "the label id is its cgroup");
        const ofPod = await metricsOf(its.id);
        const network = ofPod.one("network_receive_bytes_total", { interface: "eth0" }).labels;
        assert.equal(network["container"], "");
        assert.equal(network["name"], its.id);
        assert.equal(network["pod"], its.config.metadata?.name);

        assert.equal(ofContainer.value("spec_cpu_period"), 100_000n);
        assert.equal(ofContainer.value("spec_cpu_quota"), 20_000n);
        assert.equal(ofContainer.value("spec_cpu_shares"), 1024n);
        assert.equal(ofContainer.value("spec_memory_limit_bytes"), 64n << 20n);
        assert.equal(ofContainer.value("spec_memory_swap_limit_bytes"), 64n << 20n);
        assert.equal(ofContainer.value("start_time_seconds"), startedAt / 1_000_000_000n);
        const { timestamp } = ofContainer.one("last_seen");
        assert.equal(ofContainer.value("last_seen"), timestamp / 1_000_000_000n);
        await daemon.client.runtime.updateContainerResources({
          containerId: id,
          linux: {
            ...resources,
            cpuQuota: 50_000n,
            memoryLimitInBytes: 96n << 20n,
            memorySwapLimitInBytes: 96n << 20n,
          },
        });
        const changed = await metricsOf(id);
        assert.equal(changed.value("spec_cpu_quota"), 50_000n);
        assert.equal(changed.value("spec_memory_limit_bytes"), 96n << 20n);
      }),
    ),
  );

  test(
    "has the values of the cgroup, of /proc and of the pod's interfaces",
    leakless(served, () =>
      inPod(daemon, pod(), async (its) => {
        const load =
          "head -c 4194304 /dev/zero >/written; sync; " +
          "nc -l -p 7001 & nc -l -p 7002 & sleep 100000 & " +
          "ping -c 3 127.0.0.1 >/dev/null; ping -c 2 -W 1 10.255.255.254; " +
          "while [ ! -e /enough ]; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done; " +
          "exec 8</written; echo >/done; sleep 100000";
        const id = await runIn(its, script(load, limited));
        const cgroup = (await metricsOf(id)).one("memory_rss").labels["id"] ?? "";
        await until("it has used processor time", () => usedNs(cgroup) > 1_200_000_000n);
        await sh(daemon, id, "echo >/enough; while [ ! -e /done ]; do sleep 0.1; done");
        await freeze(cgroup);
        const before = memoryOf(cgroup);
        // Samples are shared, and this one must be of the frozen container.
        const frozenAtNs = BigInt(Date.now()) * 1_000_000n;
        const of = await until("there is a newer sample", async () => {
          const found = await metricsOf(id);
          return found.one("memory_rss").timestamp > frozenAtNs &&
            found.one("processes").timestamp > frozenAtNs &&
            found.one("fs_usage_bytes").timestamp > 0n
            ? found
            : undefined;
        });

        checkCpu(of, cgroup);
        // The kernel may reclaim some of the page cache meanwhile, also of a frozen container.
        const after = memoryOf(cgroup);
        for (const [name, value] of Object.entries(before)) {
          const [least, most] = [value, after[name] ?? 0n].sort((a, b) => Number(a - b));
          const found = of.value(name);
          const expected = found < (least ?? 0n) ? least : found > (most ?? 0n) ? most : found;
          isNear(found, expected ?? 0n, 1n << 18n);
        }
        const hierarchy = { failure_type: "pgfault", scope: "hierarchy" };
        const faults = stat(cgroup, "total_pgfault", "pgfault");
        isNear(of.value("memory_failures_total", hierarchy), faults, 64n);
        assert.ok(of.value("memory_max_usage_bytes") >= of.value("memory_usage_bytes"));
        assert.ok(of.value("memory_working_set_bytes") <= of.value("memory_usage_bytes"));
        assert.ok(of.value("memory_kernel_usage") > 0n);
        assert.equal(of.value("oom_events_total"), 0n);

        await checkProcesses(of, cgroup, id);

        const { blocks, bsize, files } = statfsSync(daemon.paths.root, { bigint: true });
        assert.ok(of.value("fs_usage_bytes") >= 4n << 20n);
        assert.equal(of.value("fs_limit_bytes"), blocks * bsize);
        assert.equal(of.value("fs_inodes_total"), files);
        assert.ok(of.value("fs_inodes_free") <= files);

        await checkNetwork(its.id);
      }),
    ),
  );

  test(
    "has running containers of ready pods alone, and the stream has the same",
    leakless(served, () =>
      inPod(daemon, bare(), async (its) => {
        const id = await runIn(its);
        await createIn(its);
        const ended = await runIn(its);
        await stop(daemon, ended);
        assert.deepEqual([...(await listMetrics(daemon)).keys()].sort(), [id, its.id].sort());
        assert.equal(held(), isTuned ? 1 : 0);
        const keys = await labelKeys(daemon);
        const streamed: string[] = [];
        for await (const { podSandboxMetrics } of daemon.client.runtime.streamPodSandboxMetrics(
          {},
        )) {
          streamed.push(...metricsById(podSandboxMetrics, keys).keys());
        }
        assert.deepEqual(streamed.sort(), [id, its.id].sort());
        await stop(daemon, id);
        assert.equal(held(), 0);
        assert.deepEqual([...(await listMetrics(daemon)).keys()], [its.id]);
        await stopPod(daemon, its.id);
        assert.equal((await listMetrics(daemon)).size, 0);
      }),
    ),
  );

  test(
    "has all containers while a process of one hangs in the kernel",
    { skip: noStuckDisk },
    leakless(served, async () => {
      await using disk = await StuckDisk.mount();
      await inPod(daemon, bare(), async (its) => {
        const mounts = [{ containerPath: "/disk", hostPath: disk.directory }];
        const before = disk.hanging;
        const stuck = await runIn(its, script("exec 9</disk; cat /disk/hang & wait", { mounts }));
        await until("a process hangs", () => disk.hanging > before);
        const other = await runIn(its);
        const all = await listMetrics(daemon);
        for (const id of [stuck, other]) {
          const of = all.get(id);
          assert.ok(of !== undefined);
          assert.ok(of.value("processes") >= 1n);
          assert.ok(of.value("file_descriptors") >= 3n);
        }
        await disk.release();
      });
    }),
  );
});
