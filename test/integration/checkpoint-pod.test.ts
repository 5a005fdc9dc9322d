/** Checkpoints of pods by CRIU, and pods that continue from them. */
// variants: runc
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  CheckpointDirectory,
  checkpointNode,
  checkpointPod,
  continuesFrom,
  counter,
  isPaused,
  restoreOf,
  stateOf,
} from "../support/suites/checkpoints.ts";
import {
  container,
  containerStatus,
  CREATED,
  inPod,
  type Node,
  openPod,
  pidOf,
  remove,
  runIn,
  script,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  cgroupsOfProcess,
  code,
  CONTAINER,
  failsWith,
  leakless,
  listIds,
  POD,
  parentOf,
  pod as podOf,
  removePod,
  statusOf,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const directory = new CheckpointDirectory();

before(async () => {
  node = await checkpointNode(directory);
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

describe("CheckpointPod and RestorePod", () => {
  /** Runs two counters in a pod that shares PIDs, and makes a checkpoint of it. */
  async function checkpointOf(output: string) {
    const configs = [counter(), counter()];
    const pod = await openPod(daemon, podOf({ pid: POD }, { hostname: "before" }));
    const ids = [];
    for (const config of configs) ids.push(await runIn(pod, config));
    const seen = await Promise.all(ids.map((id) => stateOf(daemon, id)));
    await checkpointPod(pod, ids, output);
    for (const [index, id] of ids.entries()) {
      assert.equal(await isPaused(daemon, id), false);
      await continuesFrom(daemon, id, seen[index]);
    }
    await removePod(daemon, pod.id);
    return { configs, seen };
  }

  test(
    "a pod that shares PIDs and IPC continues in another one",
    leakless(served, async () => {
      const output = directory.make();
      const { configs, seen } = await checkpointOf(output);
      const config = podOf({ pid: POD }, { hostname: "after" });
      const request = restoreOf(daemon, output, config, configs);
      const { podSandboxId, restoredContainers } = await daemon.client.runtime.restorePod(request);
      assert.deepEqual(
        restoredContainers.map(({ name }) => name),
        configs.map(({ metadata }) => metadata?.name),
      );
      for (const { containerId } of restoredContainers) {
        assert.equal((await containerStatus(daemon, containerId)).state, CREATED);
      }
      for (const [index, { containerId }] of restoredContainers.entries()) {
        await start(daemon, containerId);
        await continuesFrom(daemon, containerId, seen[index]);
        assert.equal(await sh(daemon, containerId, "hostname"), "after");
      }
      const [first] = restoredContainers;
      const processes = await sh(daemon, first?.containerId ?? "", "ps -o args");
      // A child of a shell has its command line until its execve.
      assert.ok((processes.match(/kernel\/random/g)?.length ?? 0) >= 2, processes);
      const status = await statusOf(daemon, podSandboxId);
      assert.equal(status.metadata?.uid, config.metadata?.uid);
      const pid = await pidOf(daemon, first?.containerId ?? "");
      assert.ok(cgroupsOfProcess(pid).some((each) => each.startsWith(parentOf(config))));
      for (const { containerId } of restoredContainers) await stop(daemon, containerId, 10);
      await removePod(daemon, podSandboxId);
      rmSync(output, { recursive: true });
    }),
  );

  test(
    "a restored pod is captured and restored again, with all changes of its roots",
    leakless(served, async () => {
      const config = counter();
      let pod = await openPod(daemon, podOf());
      let id = await runIn(pod, config);
      const changed =
        "echo first >/first; echo first >/both; rm /bin/wc; mkdir /dir; echo a >/dir/a";
      await sh(daemon, id, changed);
      const seen = await stateOf(daemon, id);
      const again = async (): Promise<void> => {
        const output = directory.make();
        await checkpointPod(pod, [id], output);
        await removePod(daemon, pod.id);
        const request = restoreOf(daemon, output, podOf(), [config]);
        const made = await daemon.client.runtime.restorePod(request);
        pod = { ...pod, id: made.podSandboxId };
        id = made.restoredContainers[0]?.containerId ?? "";
        rmSync(output, { recursive: true });
        await start(daemon, id);
        await continuesFrom(daemon, id, seen);
      };
      const files = "cat /first /both /dir/*; ls /bin/wc /second 2>/dev/null || :";
      await again();
      assert.equal(await sh(daemon, id, files), "first\nfirst\na");
      await sh(
        daemon,
        id,
        "rm -r /dir; mkdir /dir; echo b >/dir/b; echo second | tee /both >/second",
      );
      await again();
      assert.equal(await sh(daemon, id, files), "first\nsecond\nb\n/second");
      await again();
      assert.equal(await sh(daemon, id, files), "first\nsecond\nb\n/second");
      await removePod(daemon, pod.id);
    }),
  );

  test(
    "restores what does not fit not at all",
    leakless(served, async () => {
      const output = directory.make();
      const { configs } = await checkpointOf(output);
      const before = await listIds(daemon);
      const [one, other] = configs;
      assert.ok(one !== undefined && other !== undefined);
      const config = podOf({ pid: POD });
      const invalid = failsWith(code.invalidArgument);
      const rows = [
        [restoreOf(daemon, output, config, [one]), invalid],
        [restoreOf(daemon, output, config, [one, other, container()]), invalid],
        [restoreOf(daemon, output, config, [one, one]), invalid],
        [restoreOf(daemon, directory.at("none"), config, configs), failsWith(code.notFound)],
        [{ ...restoreOf(daemon, output, config, configs), options: { x: "" } }, invalid],
        [{ ...restoreOf(daemon, output, config, configs), runtimeHandler: "none" }, invalid],
        [
          restoreOf(daemon, output, config, [one, { ...other, image: { image: "none" } }]),
          failsWith(code.notFound),
        ],
      ] as const;
      for (const [request, fails] of rows) {
        await assert.rejects(daemon.client.runtime.restorePod(request), fails);
      }
      assert.deepEqual(await listIds(daemon), before);
      assert.deepEqual(readdirSync(output).toSorted(), ["containers", "pod.json"]);
      rmSync(output, { recursive: true });
    }),
  );

  test(
    "a checkpoint that cannot be made leaves the directory empty, and all containers running",
    leakless(served, () =>
      inPod(daemon, podOf({ pid: CONTAINER }), async (pod) => {
        const output = directory.make();
        const id = await runIn(pod, counter());
        const server = await runIn(pod, script("sleep 1000 | nc -l -p 9000; sleep 1000"));
        const client = await runIn(
          pod,
          script("while :; do sleep 1000 | nc 127.0.0.1 9000; sleep 0.1; done"),
        );
        await until("they are connected", async () =>
          (await sh(daemon, client, "netstat -tn")).includes("ESTABLISHED"),
        );
        const seen = await stateOf(daemon, id);
        const call = checkpointPod(pod, [id, server, client], output);
        await assert.rejects(call, failsWith(code.failedPrecondition, /TCP/));
        assert.deepEqual(readdirSync(output), []);
        assert.ok(existsSync(output));
        await continuesFrom(daemon, id, seen);
        for (const each of [id, server, client]) assert.equal(await isPaused(daemon, each), false);
        const noDeadline = daemon.client.runtime.checkpointPod({
          podSandboxId: pod.id,
          outputPath: output,
          containerIds: [id],
        });
        await assert.rejects(noDeadline, failsWith(code.invalidArgument, /no deadline/));
        await remove(daemon, client);
      }),
    ),
  );
});
