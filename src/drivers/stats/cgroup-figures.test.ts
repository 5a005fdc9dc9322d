import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";

import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import { FigurePlan, openFilesLimit } from "./cgroup-figures.ts";

const root = mkdtempSync(join(tmpdir(), "davit-figures-"));
after(() => {
  rmSync(root, { recursive: true });
});

const controllers = ["cpu", "cpuacct", "memory", "blkio", "pids", "hugetlb"];
const v1: CgroupLayout = {
  version: "v1",
  hierarchies: controllers.map((name) => ({ path: join(root, "v1", name), controllers: [name] })),
  ownedByV2: [],
  advice: undefined,
};
const v2: CgroupLayout = { version: "v2", root: join(root, "v2"), controllers: [] };
const options = { pageSizes: ["2MB", "1GB"], nameDevice: () => "/dev/sda" };

function fill(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
}

function read<T>({
  paths,
  parse,
}: {
  readonly paths: readonly string[];
  readonly parse: (texts: readonly (string | null)[]) => T;
}): T {
  return parse(
    paths.map((file) => {
      try {
        return readFileSync(file, "latin1");
      } catch {
        return null;
      }
    }),
  );
}

const ofDisk = {
  major: 8,
  minor: 0,
  name: "/dev/sda",
  bytes: new Map([
    ["Read", 4096n],
    ["Write", 512n],
  ]),
  requests: new Map([
    ["Read", 2n],
    ["Write", 1n],
  ]),
};

void describe("FigurePlan on v1", () => {
  void test("reads the figures from each hierarchy, with nested cgroups where the usage has them", () => {
    fill({
      "v1/cpu/pod/a/cpu.stat":
        "nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\nnr_bursts 0\n",
      "v1/cpuacct/pod/a/cpuacct.usage": "2000000000\n",
      "v1/cpuacct/pod/a/cpuacct.stat": "user 150\nsystem 50\n",
      "v1/memory/pod/a/memory.usage_in_bytes": "50000\n",
      "v1/memory/pod/a/memory.stat":
        "cache 1\nrss 2\nmapped_file 3\npgfault 5\npgmajfault 6\ntotal_cache 100\ntotal_rss 200\n" +
        "total_mapped_file 300\ntotal_swap 400\ntotal_pgfault 500\ntotal_pgmajfault 600\n" +
        "total_inactive_file 20000\n",
      "v1/memory/pod/a/memory.max_usage_in_bytes": "60000\n",
      "v1/memory/pod/a/memory.failcnt": "7\n",
      "v1/memory/pod/a/memory.kmem.usage_in_bytes": "8000\n",
      "v1/memory/pod/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
      "v1/blkio/pod/a/blkio.throttle.io_service_bytes_recursive":
        "8:0 Read 4096\n8:0 Write 512\nTotal 4608\n",
      "v1/blkio/pod/a/blkio.throttle.io_serviced_recursive": "8:0 Read 2\n8:0 Write 1\nTotal 3\n",
      "v1/pids/pod/a/pids.current": "9\n",
    });
    assert.deepEqual(read(new FigurePlan(v1, options).cgroup("/pod/a")), {
      cpu: {
        usageNs: 2_000_000_000n,
        userNs: 1_500_000_000n,
        systemNs: 500_000_000n,
        throttling: { periods: 10n, throttledPeriods: 4n, throttledNs: 1_500_000_000n },
        pressure: undefined,
      },
      memory: {
        usage: 50000n,
        workingSet: 30000n,
        available: undefined,
        rss: 200n,
        pageFaults: 500n,
        majorPageFaults: 600n,
        pressure: undefined,
        maxUsage: 60000n,
        limitHits: 7n,
        cache: 100n,
        mappedFile: 300n,
        kernel: 8000n,
        swap: 400n,
        ownPageFaults: 5n,
        ownMajorPageFaults: 6n,
      },
      ioPressure: undefined,
      oomKills: 3n,
      devices: [ofDisk],
      tasks: 9n,
    });
  });

  void test("reads what changes rarely, with the largest usage of huge pages", () => {
    fill({
      "v1/pids/pod/a/pids.max": "max\n",
      "v1/hugetlb/pod/a/hugetlb.2MB.rsvd.usage_in_bytes": "2097152\n",
      "v1/hugetlb/pod/a/hugetlb.2MB.rsvd.max_usage_in_bytes": "4194304\n",
    });
    const { openFilesLimit: own, ...slow } = read(
      new FigurePlan(v1, options).slow("/pod/a", process.pid),
    );
    assert.ok(own !== undefined && own > 0n);
    assert.deepEqual(slow, {
      maxTasks: 0n,
      hugePages: [{ pageSize: "2MB", usage: 2097152n, maxUsage: 4194304n }],
    });
  });

  void test("gives nothing for a cgroup that is gone, and parts of one without all controllers", () => {
    const plan = new FigurePlan(v1, options);
    assert.equal(read(plan.cgroup("/gone")), undefined);
    assert.deepEqual(read(plan.slow("/gone", 0)), {
      openFilesLimit: undefined,
      maxTasks: undefined,
      hugePages: [],
    });
    const [first] = v1.hierarchies;
    assert.ok(first !== undefined);
    const alone = new FigurePlan({ ...v1, hierarchies: [v1.hierarchies[4] ?? first] }, options);
    const found = read(alone.cgroup("/pod/a"));
    assert.deepEqual([found?.tasks, found?.cpu, found?.memory], [9n, undefined, undefined]);
  });
});

void describe("FigurePlan on v2", () => {
  const files = {
    "cpu.stat":
      "usage_usec 2000000\nuser_usec 1500000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    "memory.current": "50000\n",
    "memory.stat":
      "anon 200\nfile 100\nkernel 8000\nfile_mapped 300\ninactive_file 20000\npgfault 500\npgmajfault 600\n",
    "memory.swap.current": "400\n",
    "memory.peak": "60000\n",
    "memory.events": "low 0\nhigh 1\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n",
    "io.stat": "8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n",
    "pids.current": "9\n",
    "pids.max": "42\n",
    "hugetlb.2MB.rsvd.current": "2097152\n",
    "hugetlb.1GB.rsvd.current": "0\n",
  };

  void test("reads all figures from one directory", () => {
    fill(Object.fromEntries(Object.entries(files).map(([name, text]) => [`v2/a/${name}`, text])));
    const plan = new FigurePlan(v2, options);
    const found = read(plan.cgroup("/a"));
    assert.equal(found?.cpu?.pressure?.some?.totalNs, 7000n);
    assert.deepEqual(
      { ...found, cpu: { ...found.cpu, pressure: undefined } },
      {
        cpu: {
          usageNs: 2_000_000_000n,
          userNs: 1_500_000_000n,
          systemNs: 500_000_000n,
          throttling: { periods: 10n, throttledPeriods: 4n, throttledNs: 1_500_000_000n },
          pressure: undefined,
        },
        memory: {
          usage: 50000n,
          workingSet: 30000n,
          available: undefined,
          rss: 200n,
          pageFaults: 500n,
          majorPageFaults: 600n,
          pressure: undefined,
          maxUsage: 60000n,
          limitHits: 7n,
          cache: 100n,
          mappedFile: 300n,
          kernel: 8000n,
          swap: 400n,
          ownPageFaults: undefined,
          ownMajorPageFaults: undefined,
        },
        ioPressure: undefined,
        oomKills: 3n,
        devices: [ofDisk],
        tasks: 9n,
      },
    );
    const { maxTasks, hugePages } = read(plan.slow("/a", 0));
    assert.deepEqual(
      [maxTasks, ...hugePages],
      [
        42n,
        { pageSize: "2MB", usage: 2097152n, maxUsage: undefined },
        { pageSize: "1GB", usage: 0n, maxUsage: undefined },
      ],
    );
  });

  void test("adds the kernel's memory up before Linux 5.18, and does without newer files", () => {
    fill({
      "v2/old/cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\n",
      "v2/old/memory.current": "9\n",
      "v2/old/memory.stat": "anon 1\nkernel_stack 100\npagetables 20\npercpu 3\nslab 1000\n",
    });
    const found = read(new FigurePlan(v2, options).cgroup("/old"));
    assert.equal(found?.memory?.kernel, 1123n);
    assert.equal(found.memory.maxUsage, undefined);
    assert.equal(found.memory.limitHits, undefined);
    assert.equal(found.cpu?.throttling, undefined);
    assert.deepEqual([found.oomKills, found.devices, found.tasks], [undefined, [], undefined]);
  });
});

void test("openFilesLimit() takes the soft limit, and none of a text without it", () => {
  const text =
    "Limit                     Soft Limit           Hard Limit           Units     \n" +
    "Max processes             7                    8                    processes \n" +
    "Max open files            1024                 524288               files     \n";
  assert.equal(openFilesLimit(text), 1024n);
  assert.equal(openFilesLimit(text.replace("1024  ", "unlimited")), undefined);
  assert.equal(openFilesLimit(""), undefined);
  assert.equal(openFilesLimit(null), undefined);
});
