import assert from "node:assert/strict";
import { basename } from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../base/time.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import { usageReader } from "./container-usage.ts";

const v1: CgroupLayout = {
  version: "v1",
  hierarchies: [
    { path: "/cg/cpuacct", controllers: ["cpu", "cpuacct"] },
    { path: "/cg/memory", controllers: ["memory"] },
    { path: "/cg/pids", controllers: ["pids"] },
    { path: "/cg/blkio", controllers: ["blkio"] },
  ],
  ownedByV2: [],
  advice: undefined,
};
const v2: CgroupLayout = { version: "v2", root: "/cg", controllers: [] };

/** A kernel with these files, by name; `asked` gets the paths. */
function kernel(files: Readonly<Record<string, string>>, asked: string[] = []) {
  return (paths: readonly string[]): Promise<readonly (string | null)[]> => {
    asked.push(...paths);
    return Promise.resolve(paths.map((path) => files[basename(path)] ?? null));
  };
}

const legacy = {
  "cpuacct.usage": "5000\n",
  "memory.max_usage_in_bytes": "70000\n",
  "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
  "blkio.throttle.io_service_bytes_recursive":
    "8:0 Read 100\n8:0 Write 7\n8:0 Sync 1\n8:16 Read 20\n8:16 Write 0\nTotal 128\n",
  "memory.usage_in_bytes": "60000\n",
  "memory.stat": "inactive_file 1\ntotal_inactive_file 10000\n",
  "pids.current": "3\n",
};
const unified = {
  "cpu.stat": "usage_usec 5\nuser_usec 3\n",
  "memory.peak": "70000\n",
  "memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n",
  "io.stat": "8:0 rbytes=100 wbytes=7 rios=1 wios=1\n8:16 rbytes=20 wbytes=0 rios=1\n7:0\n",
  "memory.current": "60000\n",
  "memory.stat": "anon 1\ninactive_file 10000\n",
  "pids.current": "3\n",
};
const last = {
  cpuNs: 5000n,
  memoryPeakBytes: 70_000n,
  oomKills: 2n,
  readBytes: 120n,
  writtenBytes: 7n,
};
const unknown = { memoryBytes: undefined, pids: undefined };

for (const [version, layout, files] of [
  ["v1", v1, legacy],
  ["v2", v2, unified],
] as const) {
  test(`${version}: reads what a container uses, and four files of one that has ended`, async () => {
    const asked: string[] = [];
    const read = usageReader(layout, systemClock, kernel(files, asked));
    const { takenAtNs, ...running } = (await read("/pod/c", "running")) ?? {};
    assert.ok((takenAtNs ?? 0n) > 0n);
    assert.deepEqual(running, { ...last, memoryBytes: 50_000n, pids: 3n });
    assert.equal(asked.splice(0).length, 7);
    const { takenAtNs: _, ...ended } = (await read("/pod/c", "ended")) ?? {};
    assert.deepEqual(ended, { ...last, ...unknown });
    assert.equal(asked.length, 4);
    assert.ok(asked.every((path) => path.startsWith("/cg/") && path.includes("/pod/c/")));
  });

  test(`${version}: what the kernel does not tell is absent, and so is all of no cgroup`, async () => {
    const name = version === "v1" ? "cpuacct.usage" : "cpu.stat";
    const few = usageReader(layout, systemClock, kernel({ [name]: files[name as never] }));
    const found = await few("/c", "ended");
    assert.equal(found?.cpuNs, 5000n);
    assert.ok(found.memoryPeakBytes === undefined && found.readBytes === undefined);
    const none = usageReader(layout, systemClock, kernel({}));
    assert.equal(await none("/c", "ended"), undefined);
  });
}

test("does not wait for a kernel that hangs", async (t: TestContext) => {
  const read = usageReader(v2, systemClock, () => new Promise(() => undefined));
  // A promise alone does not keep the process running.
  const alive = setInterval(() => undefined, 1000);
  t.after(() => {
    clearInterval(alive);
  });
  await assert.rejects(read("/c", "ended"), { kind: "unavailable", message: /not answered/ });
});
