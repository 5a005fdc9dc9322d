/** davit as a systemd service with the shipped unit: the promises of docs/operations.md. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  ContainerState,
  NamespaceMode,
  PodSandboxState,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../../support/pod.ts";
import {
  answers,
  client,
  endClient,
  limit,
  pidOf,
  property,
  read,
  run,
  start,
  startService,
  until,
} from "./service.ts";

let podSandboxId = "";
let containerId = "";
/** The container's process. */
let pid = 0;

before(async () => {
  await startService({});
});
after(endClient);

test("the unit is active when davit serves every call, in a cgroup of its own", async () => {
  assert.equal(property("ActiveState"), "active");
  assert.equal(property("StatusText"), "serving /run/davit/davit.sock");
  const { status } = await client.runtime.status({});
  assert.deepEqual(
    status?.conditions.map((condition) => condition.status),
    [true, true],
  );
  assert.equal(read(`/proc/${property("MainPID")}/cgroup`), "0::/system.slice/davit.service");
  assert.equal(read(`/proc/${property("MainPID")}/oom_score_adj`), "-999");
});

test("a container runs with the score and the limits that it was asked for", async () => {
  const config = podConfig();
  ({ podSandboxId } = await client.runtime.runPodSandbox({ config }));
  containerId = await start(podSandboxId, config, {
    linux: {
      // As kubelet gives it to a static pod: only CAP_SYS_RESOURCE may go below the daemon's own.
      resources: { memoryLimitInBytes: 64n << 20n, cpuShares: 512n, oomScoreAdj: -1000n },
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
    },
  });
  pid = await pidOf(containerId);
  assert.equal(read(`/proc/${pid}/oom_score_adj`), "-1000");
  assert.equal(limit(cgroupOf(pid), "memory.max"), String(64 << 20));
  assert.equal(limit(cgroupOf(pid), "cpu.weight"), "20");
});

function cgroupOf(process: number): string {
  return read(`/proc/${process}/cgroup`).slice("0::".length);
}

test("what systemd reloads and applies leaves the container's limits alone", () => {
  run("systemctl", "daemon-reload");
  run("systemctl", "set-property", "--runtime", "davit.service", "CPUWeight=50");
  assert.equal(limit(cgroupOf(pid), "memory.max"), String(64 << 20));
});

/** Checks that the container is the one that was started, and can be used. */
async function isAsBefore(): Promise<void> {
  await answers();
  const { status } = await client.runtime.containerStatus({ containerId });
  assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
  const sandbox = await client.runtime.podSandboxStatus({ podSandboxId });
  assert.equal(sandbox.status?.state, PodSandboxState.SANDBOX_READY);
  const { stdout } = await client.runtime.execSync({ containerId, cmd: ["echo", "here"] });
  assert.equal(Buffer.from(stdout).toString(), "here\n");
}

describe("pods keep running", () => {
  test("when the service is restarted", async () => {
    const before = property("MainPID");
    // The test's connection stays open and is not read, as that of a client that hangs.
    run("systemctl", "restart", "davit.service");
    assert.equal(property("Result"), "success");
    assert.notEqual(property("MainPID"), before);
    await isAsBefore();
  });

  test("when the daemon is killed, which systemd starts again", async () => {
    const before = property("MainPID");
    run("systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "davit.service");
    await until("there is another daemon", () => {
      return property("ActiveState") === "active" && !["0", before].includes(property("MainPID"));
    });
    await isAsBefore();
  });

  test("when a daemon that hangs is ended by the watchdog", async () => {
    const before = property("MainPID");
    assert.equal(property("WatchdogUSec"), "1min");
    process.kill(Number(before), "SIGSTOP");
    await until("there is another daemon", () => {
      return property("ActiveState") === "active" && !["0", before].includes(property("MainPID"));
    });
    await isAsBefore();
  });

  test("while the service is stopped", async () => {
    run("systemctl", "stop", "davit.service");
    assert.equal(read(`/proc/${pid}/comm`), "sleep");
    run("systemctl", "start", "davit.service");
    await isAsBefore();
  });
});

test("the end of the pod leaves no process in the service's cgroup but the daemon", async () => {
  await client.runtime.stopPodSandbox({ podSandboxId });
  await client.runtime.removePodSandbox({ podSandboxId });
  await until("conmon has ended", () => {
    return read("/sys/fs/cgroup/system.slice/davit.service/cgroup.procs") === property("MainPID");
  });
});

test("the kernel has AppArmor on, and every process of ours is unconfined", () => {
  assert.equal(read("/sys/module/apparmor/parameters/enabled"), "Y");
  assert.match(read(`/proc/${property("MainPID")}/attr/current`), /^unconfined/);
});
