import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";

import type { CgroupLayout, LegacyCgroups } from "../../linux/cgroup/index.ts";
import { cgroupFiles, type CgroupUsage } from "./cgroup-usage.ts";

const root = mkdtempSync(join(tmpdir(), "davit-stats-"));
after(() => {
  rmSync(root, { recursive: true });
});

const v1: LegacyCgroups = {
  version: "v1",
  hierarchies: [
    { path: join(root, "v1/cpu,cpuacct"), controllers: ["cpu", "cpuacct"] },
    { path: join(root, "v1/memory"), controllers: ["memory"] },
    { path: join(root, "v1/pids"), controllers: ["pids"] },
  ],
  ownedByV2: [],
  advice: undefined,
};
const v2: CgroupLayout = { version: "v2", root: join(root, "v2"), controllers: [] };

function fill(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
}

function usageOf(
  layout: CgroupLayout,
  path: string,
  of: "container" | "pod" = "pod",
): CgroupUsage | undefined {
  const { paths, parse } = cgroupFiles(layout, path, of);
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

const legacyStat = (swap: string): string =>
  `cache 1\nrss 1\ninactive_file 7\nhierarchical_memory_limit 5\ntotal_rss 3000\n${swap}` +
  "total_pgfault 210\ntotal_pgmajfault 4\ntotal_inactive_file 20000\n";

void describe("cgroupFiles() on v1", () => {
  void test("reads a limited container from its three hierarchies", () => {
    fill({
      "v1/cpu,cpuacct/pod/a/cpuacct.usage": "123456789\n",
      "v1/memory/pod/a/memory.usage_in_bytes": "50000\n",
      "v1/memory/pod/a/memory.stat": legacyStat("total_swap 1000\n"),
      "v1/memory/pod/a/memory.limit_in_bytes": "100000\n",
      "v1/memory/pod/a/memory.memsw.limit_in_bytes": "104096\n",
      "v1/pids/pod/a/pids.current": "3\n",
    });
    assert.deepEqual(usageOf(v1, "/pod/a"), {
      cpu: { usageNs: 123456789n, pressure: undefined },
      memory: {
        usage: 50000n,
        workingSet: 30000n,
        available: 70000n,
        rss: 3000n,
        pageFaults: 210n,
        majorPageFaults: 4n,
        pressure: undefined,
      },
      swap: { usage: 1000n, available: 3096n },
      ioPressure: undefined,
      tasks: 3n,
    });
  });

  void test("does not ask for a container's tasks, on v1 and v2", () => {
    for (const layout of [v1, v2]) {
      const pod = cgroupFiles(layout, "/pod/a", "pod").paths;
      const container = cgroupFiles(layout, "/pod/a", "container").paths;
      assert.deepEqual([...container, pod.at(-1)], pod);
      assert.match(pod.at(-1) ?? "", /pids\.current$/);
    }
    const { tasks, ...rest } = usageOf(v1, "/pod/a", "container") ?? {};
    assert.equal(tasks, undefined);
    assert.deepEqual({ ...rest, tasks: 3n }, usageOf(v1, "/pod/a"));
  });

  void test("knows no available bytes without a limit, and no swap without its accounting", () => {
    fill({
      "v1/memory/b/memory.usage_in_bytes": "50000\n",
      "v1/memory/b/memory.stat": legacyStat(""),
      "v1/memory/b/memory.limit_in_bytes": "9223372036854771712\n",
      "v1/memory/c/memory.usage_in_bytes": "10000\n",
      "v1/memory/c/memory.stat": legacyStat("total_swap 0\n"),
      "v1/memory/c/memory.limit_in_bytes": "9223372036854771712\n",
      "v1/memory/c/memory.memsw.limit_in_bytes": "9223372036854771712\n",
    });
    const b = usageOf(v1, "/b");
    assert.equal(b?.memory?.available, undefined);
    assert.equal(b?.swap, undefined);
    assert.equal(b?.cpu, undefined);
    assert.equal(b?.tasks, undefined);
    assert.deepEqual(usageOf(v1, "/c")?.swap, { usage: 0n, available: undefined });
    // The counters are not of one instant: 20000 inactive of 10000 used.
    assert.equal(usageOf(v1, "/c")?.memory?.workingSet, 0n);
  });

  void test("gives nothing for a cgroup that is gone, and for a controller that is not mounted", () => {
    assert.equal(usageOf(v1, "/gone"), undefined);
    assert.equal(usageOf({ ...v1, hierarchies: [] }, "/pod/a"), undefined);
  });
});

const psi = (totalUs: number): string =>
  `some avg10=1.50 avg60=0.25 avg300=0.00 total=${totalUs}\n` +
  `full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n`;
const full = { avg10: 0, avg60: 0, avg300: 0, totalNs: 1000n };
const some = (totalNs: bigint): object => ({ avg10: 1.5, avg60: 0.25, avg300: 0, totalNs });

void describe("cgroupFiles() on v2", () => {
  void test("reads a limited container with its pressure", () => {
    fill({
      "v2/pod/a/cpu.stat": "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\n",
      "v2/pod/a/cpu.pressure": psi(7),
      "v2/pod/a/memory.current": "50000\n",
      "v2/pod/a/memory.stat":
        "anon 3000\nfile 9\ninactive_anon 5\ninactive_file 20000\npgfault 210\npgmajfault 4\n",
      "v2/pod/a/memory.max": "100000\n",
      "v2/pod/a/memory.pressure": psi(8),
      "v2/pod/a/memory.swap.current": "1000\n",
      "v2/pod/a/memory.swap.max": "4096\n",
      "v2/pod/a/io.pressure": psi(9),
      "v2/pod/a/pids.current": "3\n",
    });
    assert.deepEqual(usageOf(v2, "/pod/a"), {
      cpu: { usageNs: 2_500_000n, pressure: { some: some(7000n), full } },
      memory: {
        usage: 50000n,
        workingSet: 30000n,
        available: 70000n,
        rss: 3000n,
        pageFaults: 210n,
        majorPageFaults: 4n,
        pressure: { some: some(8000n), full },
      },
      swap: { usage: 1000n, available: 3096n },
      ioPressure: { some: some(9000n), full },
      tasks: 3n,
    });
  });

  void test("takes max for no limit, and does without PSI and swap", () => {
    fill({
      "v2/b/cpu.stat": "usage_usec 1",
      "v2/b/memory.current": "50000\n",
      "v2/b/memory.stat": "anon 3000\n",
      "v2/b/memory.max": "max\n",
      "v2/c/memory.swap.current": "5\n",
      "v2/c/memory.swap.max": "max\n",
    });
    assert.deepEqual(usageOf(v2, "/b"), {
      cpu: { usageNs: 1000n, pressure: undefined },
      memory: {
        usage: 50000n,
        workingSet: 50000n,
        available: undefined,
        rss: 3000n,
        pageFaults: undefined,
        majorPageFaults: undefined,
        pressure: undefined,
      },
      swap: undefined,
      ioPressure: undefined,
      tasks: undefined,
    });
    assert.deepEqual(usageOf(v2, "/c")?.swap, { usage: 5n, available: undefined });
    assert.equal(usageOf(v2, "/gone"), undefined);
  });
});
