/** davit as systemd's service, with the unit that is shipped: what operations.md promises of it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "smol-toml";
import { CriClient } from "../../../src/client/cri-client.ts";
import {
  ContainerState,
  NamespaceMode,
  PodSandboxState,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { bridgeConflist, writeConflist } from "../../support/cni.ts";
import { busyboxLayer, imageOf } from "../../support/images.ts";
import { podConfig } from "../../support/pod.ts";
import { TestRegistry } from "../../support/registry.ts";

const image = "registry.k8s.io/e2e/busybox:1";
const client = new CriClient("unix:///run/davit/davit.sock");
let registry: TestRegistry;
let podSandboxId = "";
let containerId = "";
/** The container's process. */
let pid = 0;

function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8" }).trim();
}

/** A property of davit's unit. */
function property(name: string): string {
  return run("systemctl", "show", "--value", `--property=${name}`, "davit.service");
}

function read(file: string): string {
  return readFileSync(file, "utf8").trim();
}

/** Asks until it is so; the machine is emulated. */
async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 300_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, `waited five minutes: ${what}`);
    await sleep(100);
  }
}

before(async () => {
  registry = await TestRegistry.start();
  await registry.push("e2e/busybox", imageOf([busyboxLayer()], { Env: ["PATH=/bin"] }), ["1"]);
  mkdirSync("/etc/davit", { recursive: true });
  const config = { images: { registry_config_path: registry.certsDir } };
  writeFileSync("/etc/davit/davit.toml", stringify(config));
  writeConflist("/etc/cni/net.d", "10-test.conflist", bridgeConflist({ ipamDir: "/run/ipam" }));
  // Returns when davit has said that it is ready: Type=notify.
  run("systemctl", "start", "davit.service");
});
after(async () => {
  client[Symbol.dispose]();
  await registry[Symbol.asyncDispose]();
});

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
  await client.image.pullImage({ image: { image } });
  const config = podConfig();
  ({ podSandboxId } = await client.runtime.runPodSandbox({ config }));
  ({ containerId } = await client.runtime.createContainer({
    podSandboxId,
    sandboxConfig: config,
    config: {
      metadata: { name: "a", attempt: 0 },
      image: { image },
      command: ["/bin/sleep", "100000"],
      linux: {
        // As kubelet gives it to a static pod: only CAP_SYS_RESOURCE may go below the daemon's own.
        resources: { memoryLimitInBytes: 64n << 20n, cpuShares: 512n, oomScoreAdj: -1000n },
        securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
      },
    },
  }));
  await client.runtime.startContainer({ containerId });
  const { info } = await client.runtime.containerStatus({ containerId, verbose: true });
  pid = Number((JSON.parse(info["info"] ?? "{}") as { pid?: number }).pid);
  assert.ok(pid > 0);
  assert.equal(read(`/proc/${pid}/oom_score_adj`), "-1000");
  const cgroup = `/sys/fs/cgroup${read(`/proc/${pid}/cgroup`).slice("0::".length)}`;
  assert.equal(read(`${cgroup}/memory.max`), String(64 << 20));
  assert.equal(read(`${cgroup}/cpu.weight`), "20");
});

test("what systemd reloads and applies leaves the container's limits alone", () => {
  run("systemctl", "daemon-reload");
  run("systemctl", "set-property", "--runtime", "davit.service", "CPUWeight=50");
  const cgroup = `/sys/fs/cgroup${read(`/proc/${pid}/cgroup`).slice("0::".length)}`;
  assert.equal(read(`${cgroup}/memory.max`), String(64 << 20));
});

/** That the container is the one that was started, and can be used. */
async function isAsBefore(): Promise<void> {
  // The first call may still be for the connection to the last daemon, whose end nobody has read.
  await until("davit answers", () => {
    return client.runtime.version({}).then(
      () => true,
      () => false,
    );
  });
  const { status } = await client.runtime.containerStatus({ containerId });
  assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
  const sandbox = await client.runtime.podSandboxStatus({ podSandboxId });
  assert.equal(sandbox.status?.state, PodSandboxState.SANDBOX_READY);
  const { stdout } = await client.runtime.execSync({ containerId, cmd: ["echo", "here"] });
  assert.equal(Buffer.from(stdout).toString(), "here\n");
}

describe("pods go on", () => {
  test("when the service is restarted", async () => {
    const before = property("MainPID");
    // Our connection stays open meanwhile and is not read, as that of a client that hangs.
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
