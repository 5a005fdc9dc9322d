import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { restoreCgroupFile } from "./files.ts";
import { cgroupProcs, cgroupProcsPaths, killCgroup } from "./kill.ts";
import type { CgroupLayout } from "./layout.ts";
import { weightOfShares, writeResources } from "./resources.ts";
import { createCgroup, removeCgroup, removeCgroupDirs } from "./tree.ts";

// A plain directory in place of a v2 tree: its files exist, but writes have no effect.
let root = "";
let layout: CgroupLayout;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "davit-unified-"));
  layout = { version: "v2", root, controllers: ["cpu", "memory", "pids", "rdma"] };
});
afterEach(() => rmSync(root, { recursive: true }));

function fake(path: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(join(root, path), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, path, name), text);
}
const read = (path: string): string => readFileSync(join(root, path), "utf8");

describe("createCgroup() on v2", () => {
  test("enables available controllers in all parents, and nowhere else", async () => {
    fake("", { "cgroup.controllers": "cpu memory pids rdma\n", "cgroup.subtree_control": "" });
    fake("davit", { "cgroup.controllers": "cpu memory pids\n", "cgroup.subtree_control": "" });
    const made = await createCgroup(layout, "/davit/abc");
    assert.deepEqual(made, [join(root, "davit/abc")]);
    assert.equal(read("cgroup.subtree_control"), "+cpu +memory +pids");
    assert.equal(read("davit/cgroup.subtree_control"), "+cpu +memory +pids");
    assert.deepEqual(cgroupProcsPaths(layout, "/davit/abc"), [
      join(root, "davit/abc/cgroup.procs"),
    ]);
    await removeCgroupDirs(made);
    assert.deepEqual(
      [existsSync(join(root, "davit/abc")), existsSync(join(root, "davit"))],
      [false, true],
    );
  });

  test("writes nothing to a parent with all controllers", async () => {
    fake("", { "cgroup.controllers": "cpu memory\n", "cgroup.subtree_control": "memory cpu\n" });
    await createCgroup(layout, "/pod");
    assert.equal(read("cgroup.subtree_control"), "memory cpu\n");
    await removeCgroup(layout, "/pod");
    await removeCgroup(layout, "/pod");
  });

  test("removes what it made when a parent cannot be prepared", async () => {
    fake("", { "cgroup.controllers": "", "cgroup.subtree_control": "" });
    // The fake tree has no files in a new cgroup, so the second level fails.
    await assert.rejects(createCgroup(layout, "/a/b"), /cgroup.controllers/);
    assert.equal(existsSync(join(root, "a")), false);
  });
});

describe("killCgroup() on v2", () => {
  test("uses cgroup.kill, and fails at the deadline while a process is left", async () => {
    fake("pod", { "cgroup.procs": "0\n", "cgroup.kill": "" });
    fake("pod/inner", { "cgroup.procs": "4194301\n" });
    assert.deepEqual(await cgroupProcs(layout, "/pod"), [4194301]);
    await assert.rejects(killCgroup(layout, "/pod", { timeoutMs: 20 }), (error) => {
      assert.match(
        String(error),
        /kill cgroup "\/pod": still running 20 ms after SIGKILL: process 4194301; /,
      );
      return isKind(error, "deadline-exceeded");
    });
    assert.equal(read("pod/cgroup.kill"), "1");
  });

  test("succeeds for a removed cgroup", async () => {
    await killCgroup(layout, "/pod");
  });
});

describe("writeResources() on v2", () => {
  const files = [
    "cpu.weight",
    "memory.max",
    "memory.swap.max",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "memory.high",
    "hugetlb.2MB.max",
  ];
  beforeEach(() =>
    fake("pod", { ...Object.fromEntries(files.map((name) => [name, ""])), "cpu.max": "" }),
  );

  test("translates every limit", async () => {
    await writeResources(layout, "/pod", {
      cpuShares: 1024n,
      cpuQuota: 50_000n,
      cpuPeriod: 100_000n,
      memoryLimitBytes: 1000n,
      memorySwapLimitBytes: 1500n,
      cpusetCpus: "0-1",
      cpusetMems: "0",
      pids: -1n,
      hugepageLimits: [{ pageSize: "2MB", limitBytes: 4096n }],
      unified: { "memory.high": "900" },
    });
    const values = Object.fromEntries(
      [...files, "cpu.max"].map((name) => [name, read(`pod/${name}`)]),
    );
    assert.deepEqual(values, {
      "cpu.weight": "39",
      "cpu.max": "50000 100000",
      "memory.max": "1000",
      "memory.swap.max": "500",
      "cpuset.cpus": "0-1",
      "cpuset.mems": "0",
      "pids.max": "max",
      "memory.high": "900",
      "hugetlb.2MB.max": "4096",
    });
  });

  test("writes nothing for limits that are not given, 0 or empty", async () => {
    await writeResources(layout, "/pod", {
      cpuShares: 0n,
      cpuQuota: 0n,
      memoryLimitBytes: 0n,
      cpusetCpus: "",
    });
    assert.deepEqual(files.map((name) => read(`pod/${name}`)).join(""), "");
  });

  test("keeps the part of cpu.max that is not given, and removes limits with -1", async () => {
    fake("pod", { "cpu.max": "50000 100000" });
    await writeResources(layout, "/pod", { cpuPeriod: 200_000n });
    assert.equal(read("pod/cpu.max"), "50000 200000");
    fake("pod", { "cpu.max": "" });
    await writeResources(layout, "/pod", {
      cpuQuota: -1n,
      memoryLimitBytes: -1n,
      memorySwapLimitBytes: -1n,
    });
    assert.equal(read("pod/cpu.max"), "max 100000");
    assert.equal(read("pod/memory.max") + read("pod/memory.swap.max"), "maxmax");
  });

  test("ignores swap that the kernel does not count, and huge pages of 0 that it does not have", async () => {
    rmSync(join(root, "pod/memory.swap.max"));
    await writeResources(layout, "/pod", {
      memoryLimitBytes: 1n,
      memorySwapLimitBytes: 2n,
      hugepageLimits: [{ pageSize: "1GB", limitBytes: 0n }],
    });
    const wanted = { hugepageLimits: [{ pageSize: "1GB", limitBytes: 1n }] };
    await assert.rejects(writeResources(layout, "/pod", wanted), /hugetlb.1GB.max/);
  });

  test("rejects names of other files, and swap below memory", async () => {
    const bad = [
      { unified: { "../x.y": "1" } },
      { unified: { "cgroup.procs": "1" } },
      { unified: { memory: "1" } },
      { hugepageLimits: [{ pageSize: "../2MB", limitBytes: 1n }] },
      { memoryLimitBytes: 2n, memorySwapLimitBytes: 1n },
      { memorySwapLimitBytes: 1n },
    ];
    for (const resources of bad) {
      await assert.rejects(writeResources(layout, "/pod", resources), (e) =>
        isKind(e, "invalid-argument"),
      );
    }
  });
});

test("restoreCgroupFile() writes all CPUs when the kernel does not accept an empty cpuset", async () => {
  fake("", { "cpuset.cpus.effective": "0-3\n" });
  fake("pod", { "cpuset.cpus": "1", "cpuset.mems": "0" });
  await restoreCgroupFile(join(root, "pod/cpuset.cpus"), "");
  assert.equal(read("pod/cpuset.cpus"), "\n");
  // A device whose writes fail with ENOSPC, as in a cgroup with processes.
  rmSync(join(root, "pod/cpuset.cpus"));
  symlinkSync("/dev/full", join(root, "pod/cpuset.cpus"));
  const restored = restoreCgroupFile(join(root, "pod/cpuset.cpus"), "");
  await assert.rejects(restored, /write "0-3" to ".*cpuset.cpus"/);
});

test("weightOfShares() maps the range of shares to the range of weights", () => {
  const pairs = [
    [0n, 1n],
    [2n, 1n],
    [100n, 4n],
    [1024n, 39n],
    [262144n, 10000n],
    [1n << 40n, 10000n],
  ] as const;
  for (const [shares, weight] of pairs) assert.equal(weightOfShares(shares), weight);
});
