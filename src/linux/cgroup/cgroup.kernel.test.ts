import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { afterEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { testMark } from "../../../test/support/belongs.ts";
import { isKind } from "../../base/errors.ts";
import { spawnChild, spawnChildInPool } from "../process/child.ts";
import { childPids, until } from "../testing/leaks.ts";
import {
  cgroupDirs,
  cgroupProcs,
  cgroupProcsPaths,
  controllerDir,
  createCgroup,
  detectCgroups,
  killCgroup,
  memoryInUse,
  rememberLimits,
  removeCgroup,
  removeEmptyCgroup,
  writeResources,
} from "./index.ts";
import { removeCgroupDirs } from "./tree.ts";

const env = { PATH: "/usr/bin:/bin" };
const layout = detectCgroups();
const parent = `/${testMark}`;
const path = `${parent}/pod/container`;
const onV1 = { skip: layout.version !== "v1" && "this host has cgroup v2" };
const all = (p: string): readonly boolean[] => cgroupDirs(layout, p).map((dir) => existsSync(dir));

afterEach(async () => {
  await killCgroup(layout, parent);
  await removeCgroup(layout, parent);
  assert.equal(all(parent).includes(true), false);
});

/** The value of a file of a v1 controller, or of the v2 tree. */
function value(controller: string, file: string, of = path): string {
  const dir =
    layout.version === "v1" ? controllerDir(layout, controller, of) : cgroupDirs(layout, of)[0];
  assert.ok(dir !== undefined, `no controller ${controller}`);
  return readFileSync(`${dir}/${file}`, "utf8").trim();
}

/** Starts a shell with two children in the cgroup. Resolves when all three run. */
async function family(): Promise<void> {
  const child = await spawnChildInPool({
    file: "sh",
    args: ["-c", "sleep 60 & sleep 60 & wait"],
    env,
    cgroupProcsPaths: cgroupProcsPaths(layout, path),
  });
  assert.ok((await cgroupProcs(layout, path)).includes(child.pid), "it never ran elsewhere");
  let found = 0;
  while (found < 3) found = (await cgroupProcs(layout, parent)).length;
}

describe("createCgroup()", () => {
  test("makes the cgroup in every hierarchy, ready for processes, and returns what it made", async () => {
    const made = await createCgroup(layout, path);
    assert.equal(made.length, 3 * cgroupDirs(layout, path).length);
    assert.equal(all(path).includes(false), false);
    if (layout.version === "v1") {
      const root = controllerDir(layout, "cpuset", parent)?.slice(0, -parent.length);
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        assert.equal(value("cpuset", file), readFileSync(`${root}/${file}`, "utf8").trim());
      }
    }
    assert.deepEqual(await createCgroup(layout, path), []);
    await removeCgroupDirs(made);
    await removeCgroupDirs(made);
    assert.equal(all(parent).includes(true), false);
  });

  test("removal deletes neither a parent that existed nor one that is in use", async () => {
    for (const dir of cgroupDirs(layout, parent)) mkdirSync(dir);
    const made = await createCgroup(layout, path);
    const other = await createCgroup(layout, `${parent}/pod/other`);
    await removeCgroupDirs(made);
    assert.equal(all(path).includes(true), false);
    assert.equal(all(`${parent}/pod`).includes(false), false);
    await removeCgroupDirs(other);
    await removeCgroupDirs(made);
    assert.equal(all(`${parent}/pod`).includes(true), false);
    assert.equal(all(parent).includes(false), false);
  });

  test("holds against another that removes the levels above as soon as they are empty", async () => {
    const over = new AbortController();
    const remover = (async () => {
      while (!over.signal.aborted) {
        await removeEmptyCgroup(layout, `${parent}/pod`);
        await removeEmptyCgroup(layout, parent);
        await sleep(1);
      }
    })();
    try {
      for (let round = 0; round < 30; round++) {
        await createCgroup(layout, path);
        assert.equal(all(path).includes(false), false);
        await removeCgroup(layout, path);
      }
    } finally {
      over.abort();
      await remover;
    }
  });

  test("removes what it made when a later hierarchy fails", onV1, async () => {
    assert.ok(layout.version === "v1");
    const broken = {
      ...layout,
      hierarchies: [...layout.hierarchies, { path: "/proc/self/fdinfo", controllers: [] }],
    };
    await assert.rejects(createCgroup(broken, path), /create cgroup "\/proc\/self\/fdinfo/);
    assert.equal(all(parent).includes(true), false);
  });
});

describe("killCgroup()", () => {
  test("kills everything in it and below, until it is empty or removed", async () => {
    await createCgroup(layout, path);
    await family();
    await killCgroup(layout, `${parent}/pod`);
    assert.deepEqual(await cgroupProcs(layout, parent), []);
    await removeCgroup(layout, path);
    await removeCgroup(layout, path);
    await killCgroup(layout, path);
    await until("our child is reaped", () => childPids().length === 0);
  });

  test("kills processes that fork as fast as they can", async () => {
    await createCgroup(layout, path);
    // Each shell replaces itself by a child, so a list of pids is soon outdated.
    const script = "i=0; while [ $i -lt 20 ]; do (while :; do (:) & done) & i=$((i+1)); done; wait";
    await writeResources(layout, path, { pids: 200n });
    spawnChild({
      file: "sh",
      args: ["-c", script],
      env,
      cgroupProcsPaths: cgroupProcsPaths(layout, path),
    });
    while ((await cgroupProcs(layout, path)).length < 20);
    await killCgroup(layout, path);
    assert.deepEqual(await cgroupProcs(layout, path), []);
    await until("our child is reaped", () => childPids().length === 0);
  });

  test("kills a process that freezes its own cgroup to escape", onV1, async () => {
    assert.ok(layout.version === "v1");
    const own = `${path}/own`;
    await createCgroup(layout, own);
    const child = await spawnChildInPool({
      file: "sleep",
      args: ["60"],
      env,
      cgroupProcsPaths: cgroupProcsPaths(layout, own),
    });
    const freezer = controllerDir(layout, "freezer", own);
    writeFileSync(`${freezer}/freezer.state`, "FROZEN");
    await until("it is frozen", () => value("freezer", "freezer.state", own) === "FROZEN");
    await killCgroup(layout, path);
    assert.equal((await child.exited).signal, 9);
  });

  test("sends another signal once, without waiting", async () => {
    await createCgroup(layout, path);
    await family();
    await killCgroup(layout, path, { signal: 15 });
    await until("our child is reaped", () => childPids().length === 0);
  });
});

describe("removeCgroup()", () => {
  test("rejects a cgroup with processes after some tries", async () => {
    await createCgroup(layout, path);
    const child = spawnChild({
      file: "sleep",
      args: ["60"],
      env,
      cgroupProcsPaths: cgroupProcsPaths(layout, path),
    });
    await assert.rejects(removeCgroup(layout, path), (error) => {
      assert.match(String(error), /remove cgroup ".*container": .*EBUSY/);
      return isKind(error, "failed-precondition");
    });
    child.kill(9);
    await removeCgroup(layout, path); // it is retried until the child has ended
    await child.exited;
  });
});

describe("removeCgroup() of many", () => {
  test("a busy cgroup only keeps itself and its parents, and is removed when it is free", async () => {
    const other = `${parent}/pod/other/inner`;
    await createCgroup(layout, other);
    await createCgroup(layout, path);
    const child = await spawnChildInPool({
      file: "sleep",
      args: ["60"],
      env,
      cgroupProcsPaths: cgroupProcsPaths(layout, path),
    });
    await assert.rejects(removeCgroup(layout, parent), /remove cgroup ".*container": .*EBUSY/);
    assert.equal(all(`${parent}/pod/other`).includes(true), false);
    assert.equal(all(path).includes(false), false);
    const removed = removeCgroup(layout, parent);
    child.kill(9);
    await removed;
    assert.equal(all(parent).includes(true), false);
    await child.exited;
  });

  test("finds and kills processes in nested cgroups, and removes the cgroups", async () => {
    const [top = ""] = cgroupDirs(layout, path).filter((dir) => /freezer/.test(dir));
    const base = top === "" ? (cgroupDirs(layout, path)[0] ?? "") : top;
    await createCgroup(layout, path);
    const deep = `${base}${"/d".repeat(150)}`;
    mkdirSync(deep, { recursive: true });
    const child = await spawnChildInPool({
      file: "sleep",
      args: ["60"],
      env,
      cgroupProcsPaths: [`${deep}/cgroup.procs`],
    });
    assert.deepEqual(await cgroupProcs(layout, parent), [child.pid]);
    await killCgroup(layout, path);
    assert.equal((await child.exited).signal, 9);
    await removeCgroup(layout, path);
    assert.equal(existsSync(base), false);
  });
});

describe("writeResources() on v1", () => {
  test(
    "raises and lowers memory with swap, and quota with period, in any order",
    onV1,
    async () => {
      assert.ok(layout.version === "v1");
      await createCgroup(layout, path);
      const mib = 1024n * 1024n;
      for (const size of [64n * mib, 256n * mib, 32n * mib]) {
        await writeResources(layout, path, { memoryLimitBytes: size, memorySwapLimitBytes: size });
        assert.equal(value("memory", "memory.limit_in_bytes"), String(size));
      }
      await writeResources(layout, path, { memoryLimitBytes: -1n, memorySwapLimitBytes: -1n });
      assert.ok(BigInt(value("memory", "memory.limit_in_bytes")) > 2n ** 60n);
      for (const [cpuQuota, cpuPeriod] of [
        [50_000n, 100_000n],
        [1000n, 1000n],
        [2_000_000n, 1_000_000n],
        [-1n, 100_000n],
      ] as const) {
        await writeResources(layout, path, { cpuQuota, cpuPeriod });
        assert.deepEqual(
          [value("cpu", "cpu.cfs_quota_us"), value("cpu", "cpu.cfs_period_us")],
          [String(cpuQuota), String(cpuPeriod)],
        );
      }
    },
  );

  test("restores what it wrote before a failure, and everything on request", onV1, async () => {
    assert.ok(layout.version === "v1");
    await createCgroup(layout, path);
    const mib = 1024n * 1024n;
    const limits = (): readonly string[] => [
      value("cpu", "cpu.shares"),
      value("memory", "memory.limit_in_bytes"),
      value("cpuset", "cpuset.cpus"),
    ];
    const before = limits();
    const wanted = { cpuShares: 77n, memoryLimitBytes: 64n * mib, cpusetCpus: "0" };
    await assert.rejects(writeResources(layout, path, { ...wanted, cpusetCpus: "999" }));
    assert.deepEqual(limits(), before);
    const takeBack = await writeResources(layout, path, wanted);
    assert.deepEqual(limits(), ["77", String(64n * mib), "0"]);
    await takeBack();
    assert.deepEqual(limits(), before);
  });

  test(
    "writes shares, cpuset and pids, and does not change limits that are 0 or empty",
    onV1,
    async () => {
      assert.ok(layout.version === "v1");
      await createCgroup(layout, path);
      await writeResources(layout, path, {
        cpuShares: 512n,
        cpusetCpus: "0",
        cpusetMems: "0",
        pids: 77n,
      });
      await writeResources(layout, path, {
        cpuShares: 0n,
        cpusetCpus: "",
        pids: 0n,
        memoryLimitBytes: 0n,
        hugepageLimits: [{ pageSize: "2MB", limitBytes: 0n }],
      });
      assert.deepEqual(
        [value("cpu", "cpu.shares"), value("cpuset", "cpuset.cpus"), value("pids", "pids.max")],
        ["512", "0", "77"],
      );
      await writeResources(layout, path, { pids: -1n });
      assert.equal(value("pids", "pids.max"), "max");
      await assert.rejects(
        writeResources(layout, path, { cpusetCpus: "999" }),
        /"999" to ".*cpuset.cpus"/,
      );
      await assert.rejects(
        writeResources(layout, path, { unified: { "memory.high": "1" } }),
        (error) => isKind(error, "invalid-argument"),
      );
    },
  );
});

test("prepares a cgroup whose parent has an empty cpuset", onV1, async () => {
  assert.ok(layout.version === "v1");
  const dir = controllerDir(layout, "cpuset", parent);
  assert.ok(dir !== undefined);
  mkdirSync(dir);
  assert.equal(value("cpuset", "cpuset.cpus", parent), "");
  await createCgroup(layout, path);
  assert.notEqual(value("cpuset", "cpuset.cpus"), "");
  await removeCgroup(layout, path);
  rmdirSync(`${dir}/pod`);
});

describe("rememberLimits()", () => {
  const limits = (): readonly string[] =>
    layout.version === "v1"
      ? [
          value("cpu", "cpu.shares"),
          value("cpu", "cpu.cfs_period_us"),
          value("cpu", "cpu.cfs_quota_us"),
          value("cpuset", "cpuset.cpus"),
          value("memory", "memory.limit_in_bytes"),
        ]
      : ["cpu.weight", "cpu.max", "cpuset.cpus", "memory.max"].map((file) => value("", file));
  const all = {
    cpuShares: 77n,
    cpuQuota: 20_000n,
    cpuPeriod: 50_000n,
    cpusetCpus: "0",
    memoryLimitBytes: 64n << 20n,
    memorySwapLimitBytes: 64n << 20n,
  };

  test("restores all limits, raised or lowered", async () => {
    await createCgroup(layout, path);
    for (const more of [all, { memoryLimitBytes: 32n << 20n, memorySwapLimitBytes: 48n << 20n }]) {
      const before = limits();
      const takeBack = await rememberLimits(layout, path);
      await writeResources(layout, path, more);
      assert.notDeepEqual(limits(), before);
      await takeBack();
      assert.deepEqual(limits(), before);
      await writeResources(layout, path, all);
    }
  });

  test("does nothing for a removed cgroup", async () => {
    await createCgroup(layout, path);
    const takeBack = await rememberLimits(layout, path);
    await writeResources(layout, path, all);
    await removeCgroup(layout, path);
    await takeBack();
    await (await rememberLimits(layout, path))();
  });
});

test("memoryInUse() is the usage of the processes, and 0 or undefined without processes", async () => {
  await createCgroup(layout, path);
  assert.equal(await memoryInUse(layout, path), 0n);
  await spawnChildInPool({
    file: "sh",
    args: ["-c", "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo up > /dev/null; sleep 60"],
    env,
    cgroupProcsPaths: cgroupProcsPaths(layout, path),
  });
  let used = 0n;
  while (used < 20_000_000n) used = (await memoryInUse(layout, path)) ?? 0n;
  await killCgroup(layout, path);
  await removeCgroup(layout, path);
  assert.equal(await memoryInUse(layout, path), undefined);
});
