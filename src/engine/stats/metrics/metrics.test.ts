import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { describe, test } from "node:test";

import type { CgroupFigures, PodFigures } from "../../../core/stats/index.ts";
import { LinuxContainerResourcesSchema } from "../../../gen/runtime/v1/api_pb.ts";
import { expectedNames } from "../../../../test/support/suites/metrics.ts";
import { addContainerSamples, addCurrentSamples, type ContainerView } from "./container-metrics.ts";
import { metricDescriptors } from "./list.ts";
import { objectLabelKeys, type Sample } from "./metric.ts";
import { addPodSamples } from "./pod-metrics.ts";
import { cgroup, collect, container, figures, fileSystem, second } from "./testing/figures.ts";

const podSamples = (of: PodFigures): readonly Sample[] =>
  collect((add) => {
    addPodSamples(of, add);
  });

/** `name{own label values} value @time`, the name without its prefix. */
function lines(samples: readonly Sample[]): readonly string[] {
  return samples.map(({ metric, labels, value, atNs }) => {
    assert.equal(labels.length, metric.labelKeys.length - objectLabelKeys.length, metric.name);
    const own = labels.length === 0 ? "" : `{${labels.join(" ")}}`;
    return `${metric.name.replace("container_", "")}${own} ${String(value)} @${String(atNs)}`;
  });
}

test("metricDescriptors has the names of the conformance suite, each once and with help", () => {
  assert.deepEqual(
    metricDescriptors.map(({ name }) => name),
    expectedNames.map((name) => `container_${name}`),
  );
  assert.equal(expectedNames.length, 56);
  for (const { name, help, type, labelKeys } of metricDescriptors) {
    assert.ok(help.endsWith("."), name);
    assert.deepEqual(labelKeys.slice(0, objectLabelKeys.length), objectLabelKeys);
    const counts = /_total$|_failcnt$/.test(name) && name !== "container_fs_inodes_total";
    assert.equal(type, counts ? "counter" : "gauge", name);
  }
});

test("docs/operations.md names all metrics, and no other one", () => {
  const text = readFileSync(new URL("../../../../docs/operations.md", import.meta.url), "utf8");
  const [, section = ""] = /^### Metrics of pods and containers$(.*?)^##/ms.exec(text) ?? [];
  const cells = [...section.matchAll(/^\| (`[^|]*?) \|/gm)].map(([, cell]) => cell ?? "");
  const named = cells.flatMap((cell) => [...cell.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name));
  assert.deepEqual(named.sort(), expectedNames);
});

const allSamples = (view: ContainerView): readonly Sample[] =>
  collect(
    (add) => {
      addCurrentSamples(view, add);
    },
    (add) => {
      addContainerSamples(view, add);
    },
  );

describe("addContainerSamples() and addCurrentSamples()", () => {
  test("has each value with its own labels and the time of its reading", () => {
    assert.deepEqual(lines(allSamples({ container, figures, fileSystem })).toSorted(), [
      "blkio_device_usage_total{/dev/sdb 8 16 Read} 4096 @11",
      "blkio_device_usage_total{/dev/sdb 8 16 Write} 512 @11",
      "cpu_cfs_periods_total 30 @11",
      "cpu_cfs_throttled_periods_total 20 @11",
      "cpu_cfs_throttled_seconds_total 5 @11",
      "cpu_system_seconds_total 4 @11",
      "cpu_usage_seconds_total{total} 12 @11",
      "cpu_user_seconds_total 8 @11",
      "file_descriptors 14 @12",
      "fs_inodes_free{/dev/sda1} 60 @14",
      "fs_inodes_total{/dev/sda1} 100 @14",
      "fs_limit_bytes{/dev/sda1} 1000 @14",
      "fs_reads_bytes_total{/dev/sdb} 4096 @11",
      "fs_reads_total{/dev/sdb} 2 @11",
      "fs_usage_bytes{/dev/sda1} 4096 @13",
      "fs_writes_bytes_total{/dev/sdb} 512 @11",
      "fs_writes_total{/dev/sdb} 0 @11",
      "hugetlb_max_usage_bytes{1GB} 0 @12",
      "hugetlb_max_usage_bytes{2MB} 4194304 @12",
      "hugetlb_usage_bytes{1GB} 0 @12",
      "hugetlb_usage_bytes{2MB} 2097152 @12",
      "last_seen 1700000000 @1700000000000000000",
      "memory_cache 50 @11",
      "memory_failcnt 6 @11",
      "memory_failures_total{pgfault container} 69 @11",
      "memory_failures_total{pgfault hierarchy} 70 @11",
      "memory_failures_total{pgmajfault container} 5 @11",
      "memory_failures_total{pgmajfault hierarchy} 7 @11",
      "memory_kernel_usage 30 @11",
      "memory_mapped_file 40 @11",
      "memory_max_usage_bytes 110 @11",
      "memory_rss 80 @11",
      "memory_swap 20 @11",
      "memory_usage_bytes 100 @11",
      "memory_working_set_bytes 90 @11",
      "oom_events_total 3 @11",
      "pressure_cpu_stalled_seconds_total 2 @11",
      "pressure_cpu_waiting_seconds_total 1 @11",
      "pressure_io_stalled_seconds_total 6 @11",
      "pressure_io_waiting_seconds_total 5 @11",
      "pressure_memory_stalled_seconds_total 4 @11",
      "pressure_memory_waiting_seconds_total 3 @11",
      "processes 2 @12",
      "sockets 5 @12",
      "spec_cpu_period 50000 @0",
      "spec_cpu_quota 20000 @0",
      "spec_cpu_shares 512 @0",
      "spec_memory_limit_bytes 67108864 @0",
      "spec_memory_reservation_limit_bytes 1048576 @0",
      "spec_memory_swap_limit_bytes 100663296 @0",
      "start_time_seconds 1600000000 @0",
      "threads 9 @11",
      "threads_max 0 @12",
      "ulimits_soft{max_open_files} 1024 @12",
    ]);
  });

  const valuesOf = (view: ContainerView): ReadonlyMap<string, bigint> =>
    new Map(
      allSamples(view).map(({ metric, value }) => [metric.name.replace("container_", ""), value]),
    );

  test("has 0 for what the kernel does not count of memory, and nothing for other missing figures", () => {
    const bare = { usage: 1n, workingSet: 1n } as NonNullable<CgroupFigures["memory"]>;
    const of = valuesOf({
      container,
      fileSystem: undefined,
      figures: {
        ...figures,
        slow: undefined,
        cgroup: { ...cgroup, cpu: undefined, memory: bare, ioPressure: undefined, devices: [] },
      },
    });
    for (const name of ["rss", "cache", "swap", "kernel_usage", "max_usage_bytes", "failcnt"]) {
      assert.equal(of.get(`memory_${name}`), 0n, name);
    }
    const rest = [...of.keys()].filter((name) => !/^(memory|spec)_/.test(name));
    assert.deepEqual(rest, ["last_seen", "start_time_seconds", "oom_events_total", "threads"]);
  });

  test("has a container without a cgroup on this host", () => {
    const view = {
      container,
      fileSystem,
      figures: { ...figures, cgroup: undefined, slow: undefined },
    };
    const names = [...valuesOf(view).keys()].filter((name) => !name.startsWith("spec_"));
    assert.deepEqual(names, [
      "last_seen",
      "start_time_seconds",
      "fs_usage_bytes",
      "fs_limit_bytes",
      "fs_inodes_total",
      "fs_inodes_free",
    ]);
  });

  test("has the kernel's defaults without limits, and no throttling without a quota", () => {
    for (const without of [undefined, create(LinuxContainerResourcesSchema)]) {
      const of = valuesOf({ container: { ...container, resources: without }, figures, fileSystem });
      const spec = [...of].filter(([name]) => name.startsWith("spec_"));
      assert.deepEqual(Object.fromEntries(spec), {
        spec_cpu_period: 100_000n,
        spec_cpu_shares: 1024n,
        spec_memory_limit_bytes: 0n,
        spec_memory_swap_limit_bytes: 0n,
        spec_memory_reservation_limit_bytes: 0n,
      });
      assert.equal(
        [...of.keys()].some((name) => name.startsWith("cpu_cfs_")),
        false,
      );
    }
    const unlimited = create(LinuxContainerResourcesSchema, {
      cpuQuota: -1n,
      memoryLimitInBytes: -1n,
      memorySwapLimitInBytes: (1n << 63n) - 1n,
      unified: { "memory.min": "max" },
    });
    const of = valuesOf({ container: { ...container, resources: unlimited }, figures, fileSystem });
    assert.equal(of.has("spec_cpu_quota"), false);
    assert.equal(of.get("spec_memory_limit_bytes"), 0n);
    assert.equal(of.get("spec_memory_swap_limit_bytes"), 0n);
    assert.equal(of.get("spec_memory_reservation_limit_bytes"), 0n);
  });

  test("has the memory limit as limit on both when the request has none on swap", () => {
    const alone = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 5n });
    const of = valuesOf({ container: { ...container, resources: alone }, figures, fileSystem });
    assert.equal(of.get("spec_memory_swap_limit_bytes"), 5n);
  });
});

const eth0 = {
  rxBytes: 1n,
  rxPackets: 2n,
  rxErrors: 3n,
  rxDropped: 4n,
  txBytes: 5n,
  txPackets: 6n,
  txErrors: 7n,
  txDropped: 8n,
};

describe("addPodSamples()", () => {
  test("has the counters of each interface, except those of nested containers", () => {
    const names = ["eth0", "veth12ab", "docker0", "nerdctl1", "net1"];
    const interfaces = names.map((name) => ({ name, ...eth0 }));
    const samples = podSamples({ network: { takenAtNs: 2n, interfaces }, reported: undefined });
    assert.deepEqual(
      lines(samples).filter((line) => line.includes("{eth0}")),
      [
        "network_receive_bytes_total{eth0} 1 @2",
        "network_receive_packets_total{eth0} 2 @2",
        "network_receive_packets_dropped_total{eth0} 4 @2",
        "network_receive_errors_total{eth0} 3 @2",
        "network_transmit_bytes_total{eth0} 5 @2",
        "network_transmit_packets_total{eth0} 6 @2",
        "network_transmit_packets_dropped_total{eth0} 8 @2",
        "network_transmit_errors_total{eth0} 7 @2",
      ],
    );
    assert.deepEqual([...new Set(samples.flatMap(({ labels }) => labels))], ["eth0", "net1"]);
  });

  test("has what a sandboxer reports, in the metrics of containers", () => {
    const reported = {
      takenAtNs: 3n,
      cpu: { usageNs: 9n * second, usageNanoCores: undefined, pressure: undefined },
      memory: {
        usage: 100n,
        workingSet: 90n,
        available: undefined,
        rss: undefined,
        pageFaults: undefined,
        majorPageFaults: undefined,
        pressure: undefined,
      },
      swap: undefined,
      ioPressure: undefined,
      tasks: 4n,
    };
    assert.deepEqual(lines(podSamples({ network: undefined, reported })), [
      "cpu_usage_seconds_total{total} 9 @3",
      "memory_usage_bytes 100 @3",
      "memory_working_set_bytes 90 @3",
      "threads 4 @3",
    ]);
    const nothing = { ...reported, cpu: undefined, memory: undefined, tasks: undefined };
    assert.deepEqual(podSamples({ network: undefined, reported: nothing }), []);
  });
});
