// cgroup v2 with the real kernel; unified.test.ts uses a plain directory, for machines with v1.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { afterEach, describe, test } from "node:test";

import { testMark } from "../../../test/support/belongs.ts";
import { isKind } from "../../base/errors.ts";
import { spawnChildInPool } from "../process/child.ts";
import { childPids, until } from "../testing/leaks.ts";
import {
  cgroupProcs,
  cgroupProcsPaths,
  createCgroup,
  detectCgroups,
  killCgroup,
  rememberLimits,
  removeCgroup,
  writeResources,
} from "./index.ts";

const layout = detectCgroups();
// An option of each test, not of a suite, so that skipped tests are counted.
const onV2 = { skip: layout.version !== "v2" && "this host has cgroup v1" };
const root = layout.version === "v2" ? layout.root : "";
const parent = `/${testMark}`;
const path = `${parent}/pod/container`;
const mib = 1024n * 1024n;
const controllers = ["cpu", "cpuset", "io", "memory", "pids"];

afterEach(async () => {
  if (layout.version !== "v2") return;
  await killCgroup(layout, parent);
  await removeCgroup(layout, parent);
  assert.equal(existsSync(`${root}${parent}`), false);
  await until("our children are reaped", () => childPids().length === 0);
});

const value = (file: string, of = path): string =>
  readFileSync(`${root}${of}/${file}`, "utf8").trim();
const values = (...files: readonly string[]): readonly string[] => files.map((file) => value(file));

async function startIn(cgroup: string, script = "sleep 60"): Promise<number> {
  const child = await spawnChildInPool({
    file: "sh",
    args: ["-c", `${script}; :`],
    env: { PATH: "/usr/bin:/bin" },
    cgroupProcsPaths: cgroupProcsPaths(layout, cgroup),
  });
  return child.pid;
}

describe("createCgroup() on v2, by the kernel", () => {
  test(
    "enables the controllers down to the last level, which does not enable them for children",
    onV2,
    async () => {
      await createCgroup(layout, path);
      const handedOn = (of: string): readonly string[] =>
        value("cgroup.subtree_control", of).split(" ");
      for (const level of [parent, `${parent}/pod`]) {
        for (const name of controllers)
          assert.ok(handedOn(level).includes(name), `${level} ${name}`);
      }
      assert.equal(value("cgroup.subtree_control"), "");
      assert.ok(value("cgroup.controllers").includes("memory"));
    },
  );

  test("reports a parent with processes, and leaves nothing", onV2, async () => {
    mkdirSync(`${root}${parent}`);
    await startIn(parent);
    await assert.rejects(createCgroup(layout, path), (error) => {
      assert.match(String(error), /enable cpu.* processes are in the cgroup itself/);
      return isKind(error, "failed-precondition");
    });
    assert.equal(existsSync(`${root}${parent}/pod`), false);
  });
});

describe("killCgroup() on v2, by the kernel", () => {
  test("kills frozen processes, also with a frozen parent, and threaded ones", onV2, async () => {
    const own = `${path}/own`;
    await createCgroup(layout, path);
    mkdirSync(`${root}${own}`);
    await startIn(own);
    await startIn(path);
    writeFileSync(`${root}${own}/cgroup.freeze`, "1");
    await until("it is frozen", () => value("cgroup.events", own).includes("frozen 1"));
    writeFileSync(`${root}${parent}/cgroup.freeze`, "1");
    await killCgroup(layout, path);
    assert.deepEqual(await cgroupProcs(layout, path), []);
  });

  test("finds the processes of a cgroup with threaded ones below", onV2, async () => {
    await createCgroup(layout, path);
    const pid = await startIn(path);
    mkdirSync(`${root}${path}/threads`);
    writeFileSync(`${root}${path}/threads/cgroup.type`, "threaded");
    assert.ok((await cgroupProcs(layout, path)).includes(pid));
    await killCgroup(layout, path);
    rmdirSync(`${root}${path}/threads`);
  });
});

describe("writeResources() on v2, by the kernel", () => {
  test(
    "raises and lowers memory with swap, and quota with period, in any order",
    onV2,
    async () => {
      await createCgroup(layout, path);
      for (const size of [64n * mib, 256n * mib, 32n * mib]) {
        await writeResources(layout, path, {
          memoryLimitBytes: size,
          memorySwapLimitBytes: size + mib,
        });
        assert.deepEqual(values("memory.max", "memory.swap.max"), [String(size), String(mib)]);
      }
      await writeResources(layout, path, { memoryLimitBytes: -1n, memorySwapLimitBytes: -1n });
      assert.deepEqual(values("memory.max", "memory.swap.max"), ["max", "max"]);
      for (const [cpuQuota, cpuPeriod] of [
        [50_000n, 100_000n],
        [1000n, 1000n],
        [2_000_000n, 1_000_000n],
        [-1n, 100_000n],
      ] as const) {
        await writeResources(layout, path, { cpuQuota, cpuPeriod });
        assert.equal(value("cpu.max"), `${cpuQuota < 0n ? "max" : cpuQuota} ${cpuPeriod}`);
      }
      await writeResources(layout, path, { cpuQuota: 20_000n });
      assert.equal(value("cpu.max"), "20000 100000");
    },
  );

  test("restores what it wrote before a failure, and everything on request", onV2, async () => {
    await createCgroup(layout, path);
    const files = ["cpu.weight", "cpu.max", "memory.max", "memory.high", "cpuset.cpus", "pids.max"];
    const before = values(...files);
    const wanted = {
      cpuShares: 512n,
      cpuQuota: 50_000n,
      memoryLimitBytes: 64n * mib,
      cpusetCpus: "0",
      pids: 77n,
      unified: { "memory.high": String(32n * mib) },
    };
    for (const wrong of [
      { cpusetCpus: "nonsense" },
      { unified: { "memory.high": "much" } },
      { unified: { "memory.nothing": "1" } },
    ]) {
      await assert.rejects(writeResources(layout, path, { ...wanted, ...wrong }));
      assert.deepEqual(values(...files), before);
    }
    const takeBack = await writeResources(layout, path, wanted);
    assert.deepEqual(values(...files), [
      "20",
      "50000 100000",
      String(64n * mib),
      String(32n * mib),
      "0",
      "77",
    ]);
    await takeBack();
    assert.deepEqual(values(...files), before);
  });

  test("restores an empty cpuset to all CPUs", onV2, async () => {
    await createCgroup(layout, path);
    await startIn(path);
    const all = value("cpuset.cpus.effective");
    const takeBack = await writeResources(layout, path, { cpusetCpus: "0", cpusetMems: "0" });
    assert.equal(value("cpuset.cpus.effective"), "0");
    await takeBack();
    assert.equal(value("cpuset.cpus.effective"), all);
    const restore = await rememberLimits(layout, path);
    await writeResources(layout, path, { cpusetCpus: "0" });
    await restore();
    assert.equal(value("cpuset.cpus.effective"), all);
  });

  test("limits huge pages of the kernel's sizes, and rejects others", onV2, async () => {
    await createCgroup(layout, path);
    await writeResources(layout, path, {
      hugepageLimits: [
        { pageSize: "2MB", limitBytes: 4n * mib },
        { pageSize: "512MB", limitBytes: 0n },
      ],
    });
    assert.equal(value("hugetlb.2MB.max"), String(4n * mib));
    await writeResources(layout, path, { hugepageLimits: [{ pageSize: "2MB", limitBytes: 0n }] });
    assert.equal(value("hugetlb.2MB.max"), "0");
    const missing = { hugepageLimits: [{ pageSize: "512MB", limitBytes: mib }] };
    await assert.rejects(writeResources(layout, path, missing), /hugetlb.512MB.max/);
  });
});
