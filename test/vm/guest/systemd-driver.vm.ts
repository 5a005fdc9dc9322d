/** Cgroups of systemd (docs/decisions/0013-systemd-cgroups.md): slices and scopes, and that none is left. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  CgroupDriver,
  ContainerState,
  NamespaceMode,
  type PodSandboxConfig,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../../support/pod.ts";
import {
  answers,
  cgroupExists,
  client,
  configure,
  endClient,
  execIn,
  exited,
  limit,
  oursLeft,
  pidOf,
  property,
  read,
  removePod,
  run,
  start,
  startService,
  until,
} from "./service.ts";

const mib = 1n << 20n;
const kubeletSlice = "kubepods-burstable-pod0aa1_22.slice";
const kubeletParent = `/kubepods.slice/kubepods-burstable.slice/${kubeletSlice}`;
const securityContext = (pid: NamespaceMode) => ({
  namespaceOptions: { network: NamespaceMode.POD, pid, ipc: NamespaceMode.POD },
});
const scopeOf = (id: string): string => `cri-containerd-${id}.scope`;

before(async () => {
  await startService({ cgroup_driver: "systemd" });
});
after(endClient);

async function nothingIsLeft(): Promise<void> {
  await until(`no unit is left: ${oursLeft().join("\n")}`, () => oursLeft().length === 0);
}

test("RuntimeConfig reports the driver to the kubelet", async () => {
  const { linux } = await client.runtime.runtimeConfig({});
  assert.equal(linux?.cgroupDriver, CgroupDriver.SYSTEMD);
});

describe("in the slice that kubelet made for the pod", () => {
  const config = podConfig({
    linux: {
      cgroupParent: kubeletParent,
      securityContext: securityContext(NamespaceMode.CONTAINER),
    },
  });
  let pod = "";
  let id = "";
  let scope = "";
  let cgroup = "";

  before(async () => {
    run("systemctl", "start", kubeletSlice);
    run("systemctl", "set-property", "--runtime", kubeletSlice, "MemoryMax=512M");
    ({ podSandboxId: pod } = await client.runtime.runPodSandbox({ config }));
    id = await start(pod, config, {
      linux: {
        resources: {
          memoryLimitInBytes: 64n * mib,
          memorySwapLimitInBytes: 64n * mib,
          cpuShares: 512n,
          cpuQuota: 50_000n,
          cpuPeriod: 100_000n,
          cpusetCpus: "0",
          hugepageLimits: [{ pageSize: "2MB", limit: 4n * mib }],
          unified: { "memory.high": String(48n * mib) },
        },
      },
    });
    scope = scopeOf(id);
    cgroup = `${kubeletParent}/${scope}`;
  });

  test("a container is a scope with its limits, for systemd and in the kernel", async () => {
    assert.equal(read(`/proc/${await pidOf(id)}/cgroup`), `0::${cgroup}`);
    assert.equal(property("ActiveState", scope), "active");
    assert.equal(property("Slice", scope), kubeletSlice);
    assert.equal(property("Delegate", scope), "yes");
    // Twice: a reload sets only the properties of the unit that systemd knows.
    for (let round = 0; round < 2; round++) {
      assert.equal(limit(cgroup, "memory.max"), String(64n * mib));
      assert.equal(limit(cgroup, "memory.swap.max"), "0");
      assert.equal(limit(cgroup, "memory.high"), String(48n * mib));
      assert.equal(limit(cgroup, "cpu.weight"), "20");
      assert.equal(limit(cgroup, "cpu.max"), "50000 100000");
      assert.equal(limit(cgroup, "cpuset.cpus"), "0");
      assert.equal(limit(cgroup, "pids.max"), "max");
      assert.equal(limit(cgroup, "hugetlb.2MB.max"), String(4n * mib));
      touchUnit(scope);
    }
  });

  test("commands run beside it, and stats are the scope's", async () => {
    assert.equal((await execIn(id, "echo here")).output, "here");
    await until("there are stats", async () => {
      const { stats } = await client.runtime.containerStats({ containerId: id });
      return (stats?.memory?.workingSetBytes?.value ?? 0n) > 0n && stats?.cpu !== undefined;
    });
    const { stats } = await client.runtime.podSandboxStats({ podSandboxId: pod });
    assert.ok((stats?.linux?.memory?.usageBytes?.value ?? 0n) > 0n);
    assert.equal(stats?.linux?.containers.length, 1);
  });

  test("an update changes the scope for systemd and in the kernel", async () => {
    await client.runtime.updateContainerResources({
      containerId: id,
      linux: {
        memoryLimitInBytes: 96n * mib,
        memorySwapLimitInBytes: 96n * mib,
        cpuShares: 1024n,
        cpuQuota: 25_000n,
        cpuPeriod: 50_000n,
        cpusetCpus: "0-1",
      },
    });
    for (let round = 0; round < 2; round++) {
      assert.equal(limit(cgroup, "memory.max"), String(96n * mib));
      assert.equal(limit(cgroup, "cpu.weight"), "39");
      assert.equal(limit(cgroup, "cpu.max"), "25000 50000");
      assert.equal(limit(cgroup, "cpuset.cpus"), "0-1");
      touchUnit(scope);
    }
  });

  test("a quota that is taken away does not come back with systemd's next write", async () => {
    await client.runtime.updateContainerResources({ containerId: id, linux: { cpuQuota: -1n } });
    assert.match(limit(cgroup, "cpu.max"), /^max /);
    touchUnit(scope);
    assert.match(limit(cgroup, "cpu.max"), /^max /);
    assert.equal(limit(cgroup, "memory.max"), String(96n * mib));
  });

  test("an update that fails leaves the limits as they were, for systemd as well", async () => {
    await assert.rejects(
      client.runtime.updateContainerResources({
        containerId: id,
        linux: { memoryLimitInBytes: 128n * mib, cpuShares: 2048n, cpusetCpus: "77" },
      }),
    );
    for (let round = 0; round < 2; round++) {
      assert.equal(limit(cgroup, "memory.max"), String(96n * mib));
      assert.equal(limit(cgroup, "cpu.weight"), "39");
      touchUnit(scope);
    }
  });

  test("a stop takes the scope away", async () => {
    await client.runtime.stopContainer({ containerId: id, timeout: 0n });
    assert.equal((await exited(id)).exitCode, 137);
    await nothingIsLeft();
  });

  test("want of memory is OOMKilled, 137, each time", async () => {
    for (let round = 0; round < 5; round++) {
      const linux = {
        resources: { memoryLimitInBytes: 16n * mib, memorySwapLimitInBytes: 16n * mib },
      };
      const command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=10"];
      const containerId = await start(pod, config, { command, linux });
      const { exitCode, reason } = await exited(containerId);
      assert.deepEqual({ exitCode, reason }, { exitCode: 137, reason: "OOMKilled" }, `${round}`);
    }
    await nothingIsLeft();
  });

  test("a process that the kernel kills because of memory does not end its container", async () => {
    const linux = {
      resources: { memoryLimitInBytes: 16n * mib, memorySwapLimitInBytes: 16n * mib },
    };
    const containerId = await start(pod, config, { linux });
    const big = "dd if=/dev/zero of=/dev/null bs=64M count=10";
    assert.equal((await execIn(containerId, big)).exitCode, 137);
    // By now systemd would have a job that stops the scope.
    run("systemctl", "daemon-reload");
    const { status } = await client.runtime.containerStatus({ containerId });
    assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
    await client.runtime.removeContainer({ containerId });
    await nothingIsLeft();
  });

  test("what ends by itself, or never started, leaves no scope", async () => {
    const containerId = await start(pod, config, { command: ["sh", "-c", "sleep 100 & exit 3"] });
    assert.equal((await exited(containerId)).exitCode, 3);
    await assert.rejects(start(pod, config, { command: ["/no/such/program"] }));
    await nothingIsLeft();
  });

  test("the end of the pod leaves kubelet's slice", async () => {
    await removePod(pod);
    assert.equal(property("ActiveState", kubeletSlice), "active");
    assert.equal(property("MemoryMax", kubeletSlice), String(512n * mib));
    run("systemctl", "stop", kubeletSlice);
  });
});

describe("a pod without a parent", () => {
  const config = podConfig({
    linux: {
      cgroupParent: "",
      securityContext: securityContext(NamespaceMode.POD),
      resources: {
        memoryLimitInBytes: 256n * mib,
        cpuShares: 512n,
        cpuQuota: 50_000n,
        cpuPeriod: 100_000n,
        cpusetCpus: "0",
        hugepageLimits: [{ pageSize: "2MB", limit: 4n * mib }],
        unified: { "memory.high": String(200n * mib) },
      },
    },
  });
  let pod = "";
  let slice = "";
  let cgroup = "";
  let id = "";

  before(async () => {
    ({ podSandboxId: pod } = await client.runtime.runPodSandbox({ config }));
    slice = `davit-${pod}.slice`;
    cgroup = `/davit.slice/${slice}`;
    id = await start(pod, config);
  });

  test("gets a slice with the pod's limits", async () => {
    assert.equal(property("ActiveState", slice), "active");
    assert.equal(read(`/proc/${await pidOf(id)}/cgroup`), `0::${cgroup}/${scopeOf(id)}`);
    for (let round = 0; round < 2; round++) {
      assert.equal(limit(cgroup, "memory.max"), String(256n * mib));
      assert.equal(limit(cgroup, "memory.high"), String(200n * mib));
      assert.equal(limit(cgroup, "cpu.weight"), "20");
      assert.equal(limit(cgroup, "cpu.max"), "50000 100000");
      assert.equal(limit(cgroup, "cpuset.cpus"), "0");
      assert.equal(limit(cgroup, "hugetlb.2MB.max"), String(4n * mib));
      touchUnit(slice);
    }
  });

  test("is updated", async () => {
    await client.runtime.updatePodSandboxResources({
      podSandboxId: pod,
      resources: { memoryLimitInBytes: 300n * mib, cpuQuota: -1n, cpuShares: 1024n },
    });
    for (let round = 0; round < 2; round++) {
      assert.equal(limit(cgroup, "memory.max"), String(300n * mib));
      assert.equal(limit(cgroup, "cpu.weight"), "39");
      assert.match(limit(cgroup, "cpu.max"), /^max /);
      touchUnit(slice);
    }
  });

  test("keeps running across a restart of the service", async () => {
    run("systemctl", "restart", "davit.service");
    await answers();
    assert.equal((await execIn(id, "echo here")).output, "here");
    assert.equal(property("ActiveState", scopeOf(id)), "active");
  });

  test("containers that end while there is no daemon are told as they ended", async () => {
    const linux = {
      resources: { memoryLimitInBytes: 16n * mib, memorySwapLimitInBytes: 16n * mib },
    };
    const text =
      "trap exit TERM; while ! [ -e /go ]; do sleep 0.1; done; exec dd if=/dev/zero of=/dev/null bs=64M";
    const hungry = await start(pod, config, { command: ["sh", "-c", text], linux });
    const [killed, pid] = [await start(pod, config), await pidOf(hungry)];
    const killedPid = await pidOf(killed);
    run("systemctl", "stop", "davit.service");
    run("touch", `/proc/${pid}/root/go`);
    process.kill(killedPid, "SIGKILL");
    await until("both scopes are gone", () => {
      return ![hungry, killed].some((one) => cgroupExists(`${cgroup}/${scopeOf(one)}`));
    });
    run("systemctl", "start", "davit.service");
    await answers();
    const [first, second] = [await exited(hungry), await exited(killed)];
    assert.deepEqual([first.exitCode, first.reason], [137, "OOMKilled"]);
    assert.deepEqual([second.exitCode, second.reason], [137, "Error"]);
  });

  test("goes with its slice, whatever driver is set by then", async () => {
    configure({ cgroup_driver: "cgroupfs" });
    run("systemctl", "restart", "davit.service");
    await answers();
    await removePod(pod);
    await nothingIsLeft();
    configure({ cgroup_driver: "systemd" });
    run("systemctl", "restart", "davit.service");
    await answers();
  });
});

test("a parent that is not a slice is refused", async () => {
  const config: PodSandboxConfig = podConfig({
    linux: {
      cgroupParent: "/kubepods/pod1",
      securityContext: securityContext(NamespaceMode.CONTAINER),
    },
  });
  await assert.rejects(client.runtime.runPodSandbox({ config }), /must be a slice/);
});

/** Has systemd read its units again and write this one's cgroup. */
function touchUnit(unit: string): void {
  run("systemctl", "daemon-reload");
  run("systemctl", "set-property", "--runtime", unit, "IOWeight=100");
}
