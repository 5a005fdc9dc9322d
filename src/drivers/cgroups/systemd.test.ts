import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isKind, RuntimeError } from "../../base/errors.ts";
import {
  syncLimitsToSystemd,
  bitMask,
  changeSliceArgs,
  limitProperties,
  oomKillsOfGone,
  startSliceArgs,
  stopSliceArgs,
} from "../../linux/cgroup/index.ts";
import { SystemdPodCgroups } from "./systemd-pod-cgroups.ts";

const mib = 1n << 20n;
const id = "0123456789abcdef".repeat(4);
const soon = AbortSignal.timeout(10_000);

test("limitProperties() converts limits to systemd properties, v1 and v2", () => {
  const limits = {
    cpuShares: 1024n,
    cpuQuota: 50_000n,
    cpuPeriod: 200_000n,
    memoryLimitBytes: 64n * mib,
    memorySwapLimitBytes: 80n * mib,
  };
  assert.deepEqual(limitProperties(limits, "v2"), [
    ["CPUWeight", "t", "39"],
    ["CPUQuotaPerSecUSec", "t", "250000"],
    ["CPUQuotaPeriodUSec", "t", "200000"],
    ["MemoryMax", "t", "67108864"],
    ["MemorySwapMax", "t", "16777216"],
  ]);
  assert.deepEqual(limitProperties({ cpuShares: 2n, memoryLimitBytes: -1n }, "v1"), [
    ["CPUShares", "t", "2"],
    ["MemoryLimit", "t", "18446744073709551615"],
  ]);
  assert.deepEqual(limitProperties({ cpuQuota: -1n }, "v2")[0]?.[2], "18446744073709551615");
  assert.deepEqual(limitProperties({ cpuShares: 0n, cpusetCpus: "" }, "v2"), []);
  assert.deepEqual(limitProperties({ cpusetCpus: "0" }, "v1"), []);
  const cpusAndFiles = {
    cpusetCpus: "0-1,9",
    cpusetMems: "0",
    unified: { "memory.high": "5", "pids.max": "max", "memory.oom.group": "1", "memory.low": "5%" },
  };
  assert.deepEqual(limitProperties(cpusAndFiles, "v2"), [
    ["AllowedCPUs", "ay", ["2", "3", "2"]],
    ["AllowedMemoryNodes", "ay", ["1", "1"]],
    ["MemoryHigh", "t", "5"],
    ["TasksMax", "t", "18446744073709551615"],
  ]);
});

test("the command lines of busctl", () => {
  const manager = [
    "call",
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
  ];
  assert.deepEqual(startSliceArgs("davit-a.slice", [["MemoryMax", "t", "5"]]), [
    ...manager,
    ...["StartTransientUnit", "ssa(sv)a(sa(sv))", "davit-a.slice", "fail", "2"],
    ...["Description", "s", "davit pod davit-a.slice", "MemoryMax", "t", "5", "0"],
  ]);
  assert.deepEqual(changeSliceArgs("davit-a.slice", [["CPUWeight", "t", "7"]]), [
    ...manager,
    ...["SetUnitProperties", "sba(sv)", "davit-a.slice", "true", "1", "CPUWeight", "t", "7"],
  ]);
  assert.deepEqual(stopSliceArgs("davit-a.slice"), [
    ...manager,
    ...["StopUnit", "ss", "davit-a.slice", "replace"],
  ]);
});

/** A cgroup that has no controllers for those below. */
function offersNothing(dir: string): void {
  for (const file of ["cgroup.controllers", "cgroup.subtree_control"]) {
    writeFileSync(join(dir, file), "");
  }
}

test("an existing slice of a pod is kubelet's, another is davit's until its last pod is removed", async () => {
  const root = mkdtempSync(join(tmpdir(), "davit-slices-"));
  const calls: string[] = [];
  const call = (args: readonly string[]): Promise<void> => {
    const [verb = "", name = ""] = [args[4], args[6]];
    calls.push(`${verb} ${name}`);
    const directory = join(root, "davit.slice", name);
    if (verb === "StartTransientUnit") {
      mkdirSync(directory, { recursive: true });
      offersNothing(join(root, "davit.slice"));
    }
    if (verb === "StopUnit") rmdirSync(directory);
    return Promise.resolve();
  };
  const cgroups = new SystemdPodCgroups({ version: "v2", root, controllers: [] }, call);
  offersNothing(root);

  mkdirSync(join(root, "kubepods.slice/kubepods-pod1.slice"), { recursive: true });
  const kubelets = cgroups.plan("kubepods-pod1.slice", id, []);
  assert.deepEqual(kubelets, {
    parent: "/kubepods.slice/kubepods-pod1.slice",
    ownedFrom: undefined,
    driver: "systemd",
  });
  await cgroups.prepare(kubelets, undefined);
  await cgroups.update(kubelets, { memoryLimitBytes: mib });
  await cgroups.remove(kubelets, () => [], soon);
  assert.deepEqual(calls, []);

  const own = cgroups.plan("", id, []);
  const slice = `davit-${id}.slice`;
  assert.equal(own.ownedFrom, `/davit.slice/${slice}`);
  await cgroups.prepare(own, undefined);
  const second = cgroups.plan(slice, "1", [own]);
  assert.equal(second.ownedFrom, own.ownedFrom);
  await cgroups.prepare(second, undefined);
  await cgroups.remove(own, () => [second], soon);
  await cgroups.remove(second, () => [], soon);
  assert.deepEqual(calls, [`StartTransientUnit ${slice}`, `StopUnit ${slice}`]);
  rmSync(root, { recursive: true });
});

test("a slice that is being stopped is started again for the pod that came meanwhile", async () => {
  const root = mkdtempSync(join(tmpdir(), "davit-slices-"));
  const stop = Promise.withResolvers<undefined>();
  const calls: string[] = [];
  const call = async (args: readonly string[]): Promise<void> => {
    const [verb = "", name = ""] = [args[4], args[6]];
    calls.push(verb);
    const directory = join(root, "davit.slice", name);
    if (verb === "StopUnit") {
      await stop.promise;
      rmdirSync(directory);
      return;
    }
    mkdirSync(directory, { recursive: true });
    offersNothing(join(root, "davit.slice"));
  };
  const cgroups = new SystemdPodCgroups({ version: "v2", root, controllers: [] }, call);
  offersNothing(root);
  const first = cgroups.plan("", id, []);
  await cgroups.prepare(first, undefined);
  const removing = cgroups.remove(first, () => [], soon);
  const second = cgroups.plan(`davit-${id}.slice`, "1", [first]);
  const preparing = cgroups.prepare(second, undefined);
  stop.resolve(undefined);
  await Promise.all([removing, preparing]);
  assert.deepEqual(calls, ["StartTransientUnit", "StopUnit", "StartTransientUnit"]);
  rmSync(root, { recursive: true });
});

test("a memory limit below what a slice uses is refused before anything is written", async () => {
  const root = mkdtempSync(join(tmpdir(), "davit-slices-"));
  const calls: string[] = [];
  const call = (args: readonly string[]): Promise<void> => {
    calls.push(args[4] ?? "");
    return Promise.resolve();
  };
  const cgroups = new SystemdPodCgroups({ version: "v2", root, controllers: [] }, call);
  const own = cgroups.plan("", id, []);
  const directory = join(root, own.parent);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "memory.current"), `${8n * mib}\n`);
  writeFileSync(join(directory, "memory.stat"), `inactive_file ${mib}\n`);
  writeFileSync(join(directory, "memory.max"), "max\n");
  await assert.rejects(
    cgroups.update(own, { memoryLimitBytes: 6n * mib }),
    (error) =>
      isKind(error, "failed-precondition") &&
      String(error).includes(own.parent) &&
      String(error).includes(`${7n * mib} bytes are in use`),
  );
  assert.deepEqual(calls, []);
  assert.equal(readFileSync(join(directory, "memory.max"), "utf8"), "max\n");
  await cgroups.update(own, { memoryLimitBytes: 7n * mib });
  assert.deepEqual(calls, ["SetUnitProperties"]);
  rmSync(root, { recursive: true });
});

test("a slice unknown to systemd counts as removed, another failure is reported", async () => {
  const root = mkdtempSync(join(tmpdir(), "davit-slices-"));
  let kind: "not-found" | "unknown" = "not-found";
  const layout = { version: "v2", root, controllers: [] } as const;
  const cgroups = new SystemdPodCgroups(layout, () =>
    Promise.reject(new RuntimeError(kind, "systemd says no")),
  );
  const own = cgroups.plan("", id, []);
  await cgroups.remove(own, () => [], soon);
  kind = "unknown";
  await assert.rejects(
    cgroups.remove(own, () => [], soon),
    /systemd says no/,
  );
  rmSync(root, { recursive: true });
});

test("bitMask() is a list of CPUs as bytes, with their count", () => {
  assert.deepEqual(bitMask("0"), ["1", "1"]);
  assert.deepEqual(bitMask("7-8"), ["2", "128", "1"]);
  assert.deepEqual(bitMask(""), ["0"]);
});

test("syncLimitsToSystemd() sets the limits of the files in systemd", async () => {
  const root = mkdtempSync(join(tmpdir(), "davit-adopt-"));
  const calls: (readonly string[])[] = [];
  const call = (args: readonly string[]): Promise<void> => {
    calls.push(args.slice(6));
    return Promise.resolve();
  };
  mkdirSync(join(root, "a.slice/b.scope"), { recursive: true });
  const files = { "memory.max": "4096", "cpu.max": "max 50000", "cpuset.cpus": "0-1" };
  for (const [file, text] of Object.entries(files)) {
    writeFileSync(join(root, "a.slice/b.scope", file), `${text}\n`);
  }
  await syncLimitsToSystemd({ version: "v2", root, controllers: [] }, "/a.slice/b.scope", call);
  assert.deepEqual(calls, [
    [
      ...["b.scope", "true", "4", "MemoryMax", "t", "4096"],
      ...["CPUQuotaPerSecUSec", "t", "18446744073709551615", "CPUQuotaPeriodUSec", "t", "50000"],
      ...["AllowedCPUs", "ay", "1", "3"],
    ],
  ]);
  rmSync(root, { recursive: true });
});

test("oomKillsOfGone() is what the cgroup above counted, without those that are there", async () => {
  const root = mkdtempSync(join(tmpdir(), "davit-oom-"));
  const layout = { version: "v2", root, controllers: [] } as const;
  mkdirSync(join(root, "a.slice/b.scope"), { recursive: true });
  writeFileSync(join(root, "a.slice/memory.events"), "oom 9\noom_kill 5\n");
  writeFileSync(join(root, "a.slice/b.scope/memory.events"), "oom 9\noom_kill 2\n");
  assert.equal(await oomKillsOfGone(layout, "/a.slice"), 3);
  assert.equal(await oomKillsOfGone(layout, "/none.slice"), undefined);
  rmSync(root, { recursive: true });
});
