/** Metrics and stats of containers in systemd's slices and scopes, compared with the files of the kernel. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import {
  type ContainerStats,
  type LinuxPodSandboxStats,
  NamespaceMode,
  type PodSandboxConfig,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../../support/pod.ts";
import {
  expectedNames,
  isOptional,
  labelKeys,
  type MetricsOf,
  metricsById,
} from "../../support/suites/metrics.ts";
import { cgroupValue } from "../../support/suites/pods.ts";
import {
  answers,
  client,
  endClient,
  execIn,
  oursLeft,
  removePod,
  run,
  start,
  startService,
  until,
} from "./service.ts";

const mib = 1n << 20n;
const isV2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
const kubeletSlice = "kubepods-burstable-pod0bb1_22.slice";
const kubeletParent = `/kubepods.slice/kubepods-burstable.slice/${kubeletSlice}`;
const scopeOf = (id: string): string => `cri-containerd-${id}.scope`;

/** The shell holds 4 MB, and stays: a last command would take its place. */
const command = [
  "sh",
  "-c",
  "x=$(head -c 4000000 /dev/zero | tr '\\0' x); echo >/ready; sleep 100000; exit",
];
const resources = {
  memoryLimitInBytes: 64n * mib,
  memorySwapLimitInBytes: 64n * mib,
  cpuShares: 512n,
  cpuQuota: 50_000n,
  cpuPeriod: 100_000n,
};

before(async () => {
  await startService({ cgroup_driver: "systemd" });
});
after(endClient);

function configWith(cgroupParent: string, pid: NamespaceMode): PodSandboxConfig {
  const namespaceOptions = { network: NamespaceMode.POD, pid, ipc: NamespaceMode.POD };
  return podConfig({ linux: { cgroupParent, securityContext: { namespaceOptions } } });
}

async function metrics(): Promise<ReadonlyMap<string, MetricsOf>> {
  const { podMetrics } = await client.runtime.listPodSandboxMetrics({});
  return metricsById(podMetrics, await labelKeys({ client }));
}

/** The metrics of an object from a sample that was read after this moment. */
async function freshMetrics(id: string): Promise<MetricsOf> {
  const sinceNs = BigInt(Date.now()) * 1_000_000n;
  let found: MetricsOf | undefined;
  await until(`there is a new sample of ${id}`, async () => {
    found = (await metrics()).get(id);
    const read = [...(found?.all("threads") ?? []), ...(found?.all("processes") ?? [])];
    return read.length === 2 && read.every(({ timestamp }) => timestamp > sinceNs);
  });
  assert.ok(found !== undefined);
  return found;
}

function usedSeconds(cgroup: string): bigint {
  if (!isV2) return BigInt(cgroupValue(cgroup, "cpuacct.usage")) / 1_000_000_000n;
  const [, us = ""] = /^usage_usec (\d+)$/m.exec(cgroupValue(cgroup, "cpu.stat")) ?? [];
  return BigInt(us) / 1_000_000n;
}

/** What the metrics say is what the files of the scope say. The container is idle. */
function isOfScope(of: MetricsOf, cgroup: string): void {
  const memory = BigInt(cgroupValue(cgroup, "memory.current", "memory.usage_in_bytes"));
  const usage = of.value("memory_usage_bytes");
  assert.ok(usage > 3n * mib && usage < 60n * mib, `${usage} bytes`);
  const difference = usage > memory ? usage - memory : memory - usage;
  assert.ok(difference < mib, `${usage} is near ${memory}`);
  assert.equal(of.value("threads"), BigInt(cgroupValue(cgroup, "pids.current")));
  const pids = cgroupValue(cgroup, "cgroup.procs").split("\n");
  assert.equal(of.value("processes"), BigInt(pids.length));
  assert.ok(of.value("file_descriptors") >= 3n);
  const seconds = of.value("cpu_usage_seconds_total", { cpu: "total" });
  assert.ok(seconds <= usedSeconds(cgroup) && seconds >= usedSeconds(cgroup) - 1n);
}

/** The same for ListContainerStats and ListPodSandboxStats. */
async function statsAreOfScope(pod: string, id: string, cgroup: string): Promise<void> {
  const { stats } = await client.runtime.listContainerStats({ filter: { id } });
  const usage = memoryOf(stats[0]);
  assert.ok(usage > 3n * mib && usage < 60n * mib, `${usage} bytes`);
  assert.ok((stats[0]?.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n);
  const { stats: pods } = await client.runtime.listPodSandboxStats({ filter: { id: pod } });
  const linux = pods[0]?.linux;
  assert.ok(linux !== undefined);
  const ids = linux.containers.map((one) => one.attributes?.id);
  assert.deepEqual(ids, [id]);
  assert.ok(memoryOf(linux) >= usage - mib, "the slice has its scopes");
  const tasks = BigInt(cgroupValue(cgroup, "pids.current"));
  assert.ok((linux.process?.processCount?.value ?? 0n) >= tasks);
}

function memoryOf(
  stats: Pick<LinuxPodSandboxStats | ContainerStats, "memory"> | undefined,
): bigint {
  return stats?.memory?.usageBytes?.value ?? 0n;
}

function holdsMemory(id: string): Promise<void> {
  return until(
    "it holds its memory",
    async () => (await execIn(id, "[ -e /ready ]")).exitCode === 0,
  );
}

async function nothingIsLeft(): Promise<void> {
  await until(`no unit is left: ${oursLeft().join("\n")}`, () => oursLeft().length === 0);
}

describe("a container in kubelet's slice", () => {
  const config = configWith(kubeletParent, NamespaceMode.CONTAINER);
  let pod = "";
  let id = "";
  let cgroup = "";

  before(async () => {
    run("systemctl", "start", kubeletSlice);
    ({ podSandboxId: pod } = await client.runtime.runPodSandbox({ config }));
    id = await start(pod, config, { command, linux: { resources } });
    cgroup = `${kubeletParent}/${scopeOf(id)}`;
    await holdsMemory(id);
  });

  test("has a sample of each mandatory name", async () => {
    await freshMetrics(id);
    const all = await metrics();
    const found = new Set([...(all.get(id)?.names ?? []), ...(all.get(pod)?.names ?? [])]);
    const missing = expectedNames.filter((name) => !found.has(name) && !isOptional(name));
    assert.deepEqual(missing, []);
    if (!isV2) return;
    const psi = expectedNames.filter((name) => name.startsWith("pressure_") && !found.has(name));
    assert.deepEqual(psi, []);
  });

  test("has the paths of its scope and of its slice in the label id", async () => {
    const all = await metrics();
    assert.equal(all.get(id)?.one("memory_rss").labels["id"], cgroup);
    const { labels } = all.get(pod)?.one("network_receive_bytes_total") ?? {};
    assert.equal(labels?.["id"], kubeletParent);
  });

  test("has the values of its scope", async () => {
    const of = await freshMetrics(id);
    isOfScope(of, cgroup);
    assert.equal(of.value("spec_memory_limit_bytes"), 64n * mib);
    assert.equal(of.value("spec_cpu_quota"), 50_000n);
    assert.equal(of.value("threads_max"), 0n, "the scope has no limit of systemd");
    await statsAreOfScope(pod, id, cgroup);
  });

  test("is the same in the stream", async () => {
    const ids: string[] = [];
    const keys = await labelKeys({ client });
    for await (const { podSandboxMetrics } of client.runtime.streamPodSandboxMetrics({})) {
      ids.push(...metricsById(podSandboxMetrics, keys).keys());
    }
    assert.deepEqual(ids.sort(), [pod, id].sort());
  });

  test("is still read after systemd has read its units again and written the scope", async () => {
    run("systemctl", "daemon-reload");
    const weight = isV2 ? "CPUWeight=100" : "CPUShares=1024";
    run("systemctl", "set-property", "--runtime", scopeOf(id), weight);
    isOfScope(await freshMetrics(id), cgroup);
    await statsAreOfScope(pod, id, cgroup);
  });

  test("has processor time that grows", async () => {
    const before = (await freshMetrics(id)).value("cpu_usage_seconds_total");
    const busy = "end=$(($(date +%s)+8)); while [ $(date +%s) -lt $end ]; do :; done";
    assert.equal((await execIn(id, busy)).exitCode, 0);
    const of = await freshMetrics(id);
    assert.ok(of.value("cpu_usage_seconds_total") > before);
    assert.ok(of.value("cpu_cfs_periods_total") > 0n);
    isOfScope(of, cgroup);
  });

  test("is read after a restart of the service", async () => {
    run("systemctl", "restart", "davit.service");
    await answers();
    isOfScope(await freshMetrics(id), cgroup);
    await statsAreOfScope(pod, id, cgroup);
  });

  test("has no samples when it has ended, and those of its pod stay", async () => {
    await client.runtime.stopContainer({ containerId: id, timeout: 0n });
    await nothingIsLeft();
    assert.deepEqual([...(await metrics()).keys()], [pod]);
    await removePod(pod);
    assert.equal((await metrics()).size, 0);
    run("systemctl", "stop", kubeletSlice);
  });
});

describe("a container in a slice of davit, with a PID namespace of the pod", () => {
  const config = configWith("", NamespaceMode.POD);

  test("has the values of its scope, without the pod's holder", async () => {
    const { podSandboxId: pod } = await client.runtime.runPodSandbox({ config });
    const id = await start(pod, config, { command, linux: { resources } });
    const slice = `/davit.slice/davit-${pod}.slice`;
    const cgroup = `${slice}/${scopeOf(id)}`;
    await holdsMemory(id);
    const of = await freshMetrics(id);
    isOfScope(of, cgroup);
    assert.equal(of.one("memory_rss").labels["id"], cgroup);
    await statsAreOfScope(pod, id, cgroup);
    const { stats } = await client.runtime.podSandboxStats({ podSandboxId: pod });
    const holder = 1n;
    const tasks = BigInt(cgroupValue(cgroup, "pids.current"));
    assert.equal(stats?.linux?.process?.processCount?.value, tasks + holder);
    await removePod(pod);
    await nothingIsLeft();
  });
});
