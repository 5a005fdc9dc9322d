/** The cgroups of pods: which of them davit creates, changes and removes. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type LinuxContainerResourcesSchema,
  LinuxPodSandboxConfigSchema,
  type PodSandboxConfig,
  UpdatePodSandboxResourcesRequestSchema,
} from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { testMark } from "../support/belongs.ts";
import {
  bare,
  cgroupDirectories,
  cgroupsOfProcess,
  cgroupsThere,
  cgroupValue,
  code,
  endDaemon,
  failsWith,
  holderOf,
  launchDaemon,
  leakless,
  NODE,
  openDatabase,
  POD,
  pod,
  removePod,
  runPod,
  startDaemon,
  stopPod,
} from "../support/suites/pods.ts";

let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon();
});
after(() => endDaemon(daemon));

type Resources = MessageInitShape<typeof LinuxContainerResourcesSchema>;

const mib = 1024n * 1024n;
const memoryLimit = (cgroup: string): string =>
  cgroupValue(cgroup, "memory.limit_in_bytes", "memory.max");

/** A pod on the host's network whose cgroup parent is `cgroupParent`. */
function podIn(cgroupParent: string, resources?: Resources, modes = {}): PodSandboxConfig {
  const config = pod({ network: NODE, ipc: NODE, ...modes });
  const { securityContext } = config.linux ?? {};
  config.linux = create(LinuxPodSandboxConfigSchema, {
    cgroupParent,
    ...(securityContext === undefined ? {} : { securityContext }),
    ...(resources === undefined ? {} : { resources }),
  });
  return config;
}

/** The steps of the kubelet before it requests a sandbox. */
function makeCgroup(cgroup: string): Disposable {
  for (const directory of cgroupDirectories(cgroup)) {
    mkdirSync(directory);
    for (const file of ["cpuset.cpus", "cpuset.mems"]) copyDown(directory, file);
  }
  return {
    [Symbol.dispose]: () => {
      for (const directory of cgroupsThere(cgroup)) rmdirSync(directory);
    },
  };
}

function copyDown(directory: string, file: string): void {
  if (!directory.includes("/cpuset/")) return;
  writeFileSync(path.join(directory, file), readFileSync(path.join(directory, "..", file)));
}

/** A process with ten megabytes and more, in the cgroup of a pod. */
async function memoryUser(cgroup: string): Promise<ChildProcess> {
  const enter = cgroupDirectories(cgroup).map((directory) => `echo $$ >${directory}/cgroup.procs`);
  const fill = "x=$(seq 1 1500000); echo up; read never; echo $x";
  const user = spawn("sh", ["-ec", [...enter, fill].join("; ")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(user.stdout, "data");
  return user;
}

describe("cgroup_parent", () => {
  test(
    "that exists is used, and neither changed nor removed",
    leakless(served, async () => {
      const cgroup = `/${testMark}-kubelet`;
      using _made = makeCgroup(cgroup);
      const limit = memoryLimit(cgroup);
      const config = podIn(cgroup, { memoryLimitInBytes: 64n * mib, cpuShares: 77n }, { pid: POD });
      const id = await runPod(daemon, config);
      assert.equal(memoryLimit(cgroup), limit);
      const holder = await holderOf(daemon, id);
      for (const entered of cgroupsOfProcess(holder)) assert.equal(entered, `${cgroup}/${id}`);

      await daemon.client.runtime.updatePodSandboxResources({
        podSandboxId: id,
        resources: { memoryLimitInBytes: 32n * mib },
      });
      assert.equal(memoryLimit(cgroup), limit);
      await stopPod(daemon, id);
      await removePod(daemon, id);
      assert.deepEqual(cgroupsThere(cgroup), cgroupDirectories(cgroup));
      assert.deepEqual(cgroupsThere(`${cgroup}/${id}`), []);
      assert.equal(memoryLimit(cgroup), limit);
    }),
  );

  test(
    "that is missing is created with its limits in every hierarchy, and removed",
    leakless(served, async () => {
      const cgroup = `/${testMark}-missing/of/davit`;
      const config = podIn(cgroup, { memoryLimitInBytes: 64n * mib });
      const id = await runPod(daemon, config);
      assert.deepEqual(cgroupsThere(cgroup), cgroupDirectories(cgroup));
      assert.equal(memoryLimit(cgroup), String(64n * mib));
      await stopPod(daemon, id);
      await removePod(daemon, id);
      assert.deepEqual(cgroupsThere(`/${testMark}-missing`), []);
    }),
  );

  test(
    "that is missing below an existing one is removed, and its parent stays",
    leakless(served, async () => {
      using _made = makeCgroup(`/${testMark}-above`);
      const cgroup = `/${testMark}-above/missing`;
      await removePod(daemon, await runPod(daemon, podIn(cgroup)));
      assert.deepEqual(cgroupsThere(cgroup), []);
      assert.equal(
        cgroupsThere(`/${testMark}-above`).length,
        cgroupDirectories(`/${testMark}-above`).length,
      );
    }),
  );

  test(
    "that davit made is kept while another pod lives in it",
    leakless(served, async () => {
      const top = `/${testMark}-shared`;
      const first = await runPod(daemon, podIn(`${top}/a`));
      const second = await runPod(daemon, podIn(`${top}/b`));
      await removePod(daemon, first);
      assert.deepEqual(cgroupsThere(`${top}/a`), []);
      assert.deepEqual(cgroupsThere(`${top}/b`), cgroupDirectories(`${top}/b`));
      await removePod(daemon, second);
      assert.deepEqual(cgroupsThere(top), []);
    }),
  );

  test(
    "that davit made is kept while another pod has the same one",
    leakless(served, async () => {
      const cgroup = `/${testMark}-same`;
      const first = await runPod(daemon, podIn(cgroup));
      const second = await runPod(daemon, podIn(cgroup));
      await removePod(daemon, first);
      assert.deepEqual(cgroupsThere(cgroup), cgroupDirectories(cgroup));
      await removePod(daemon, second);
      assert.deepEqual(cgroupsThere(cgroup), []);
    }),
  );

  test(
    "that is empty becomes /davit/ID",
    leakless(served, async () => {
      const id = await runPod(daemon, podIn("", { memoryLimitInBytes: 64n * mib }, { pid: POD }));
      const cgroup = `/davit/${id}`;
      assert.deepEqual(cgroupsThere(cgroup), cgroupDirectories(cgroup));
      assert.equal(memoryLimit(cgroup), String(64n * mib));
      for (const entered of cgroupsOfProcess(await holderOf(daemon, id))) {
        assert.equal(entered, `${cgroup}/${id}`);
      }
      await removePod(daemon, id);
      assert.deepEqual(cgroupsThere(cgroup), []);
    }),
  );

  test("that is empty belongs to this daemon: another one does not touch it", async () => {
    const id = await runPod(daemon, podIn("", undefined, { pid: POD }));
    const holder = await holderOf(daemon, id);
    {
      await using other = await startDaemon();
      assert.deepEqual((await other.client.runtime.listPodSandbox({})).items, []);
    }
    assert.deepEqual(cgroupsThere(`/davit/${id}`), cgroupDirectories(`/davit/${id}`));
    assert.equal(await holderOf(daemon, id), holder);
    await removePod(daemon, id);
  });
});

describe("UpdatePodSandboxResources", () => {
  test(
    "writes the cgroup of the pod if davit created it",
    leakless(served, async () => {
      const config = bare();
      const cgroup = config.linux?.cgroupParent ?? "";
      const id = await runPod(daemon, config);
      await daemon.client.runtime.updatePodSandboxResources({
        podSandboxId: id.slice(0, 50),
        overhead: { memoryLimitInBytes: mib },
        resources: { memoryLimitInBytes: 48n * mib, cpuShares: 512n },
      });
      assert.equal(memoryLimit(cgroup), String(48n * mib));
      assert.match(cgroupValue(cgroup, "cpu.shares", "cpu.weight"), /^(512|20)$/);
      await removePod(daemon, id);
    }),
  );

  test("survives a restart byte for byte", async () => {
    const id = await runPod(daemon, bare());
    const request = create(UpdatePodSandboxResourcesRequestSchema, {
      podSandboxId: id,
      overhead: { cpuShares: 3n },
      resources: { cpuShares: 5n, unified: { a: "b" } },
    });
    delete request.resources?.unified["a"];
    await daemon.client.runtime.updatePodSandboxResources(request);
    for (let restarts = 0; restarts < 2; restarts++) {
      await daemon.stop();
      using database = openDatabase(daemon);
      const row = database.prepare("SELECT resources FROM sandbox WHERE id = ?").get(id);
      const bytes = row?.["resources"];
      assert.ok(bytes instanceof Uint8Array);
      assert.deepEqual(fromBinary(UpdatePodSandboxResourcesRequestSchema, bytes), request);
      await launchDaemon(daemon);
    }
    await removePod(daemon, id);
  });

  test(
    "refuses less memory than the pod uses, with both figures",
    leakless(served, async () => {
      const config = bare();
      const cgroup = config.linux?.cgroupParent ?? "";
      const id = await runPod(daemon, config);
      const limit = memoryLimit(cgroup);
      const user = await memoryUser(cgroup);
      const update = daemon.client.runtime.updatePodSandboxResources({
        podSandboxId: id,
        resources: { memoryLimitInBytes: mib, cpuShares: 512n },
      });
      const why = /memory to 1048576 bytes: [1-9]\d{7,} bytes are in use/;
      await assert.rejects(update, failsWith(code.failedPrecondition, why));
      assert.equal(memoryLimit(cgroup), limit);
      assert.doesNotMatch(cgroupValue(cgroup, "cpu.shares", "cpu.weight"), /^(512|20)$/);
      assert.equal(user.signalCode, null);
      const ended = once(user, "exit");
      user.kill("SIGKILL");
      await ended;
      await removePod(daemon, id);
    }),
  );

  test(
    "refuses a pod that does not exist or does not run, and changes nothing when it fails",
    leakless(served, async () => {
      const update = (podSandboxId: string, resources: Resources) =>
        daemon.client.runtime.updatePodSandboxResources({ podSandboxId, resources });
      await assert.rejects(update("0".repeat(64), {}), failsWith(code.notFound));

      const config = bare();
      const cgroup = config.linux?.cgroupParent ?? "";
      const id = await runPod(daemon, config);
      await update(id, { memoryLimitInBytes: 48n * mib });
      await assert.rejects(update(id, { cpusetCpus: "9999" }), /cpuset/);
      assert.equal(memoryLimit(cgroup), String(48n * mib));
      await stopPod(daemon, id);
      await assert.rejects(update(id, {}), failsWith(code.failedPrecondition, /not ready/));
      await removePod(daemon, id);
    }),
  );
});
