/** Lists and statuses of containers. */
// variants: shim
import assert from "node:assert/strict";
import { existsSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import {
  type Container,
  type ContainerFilterSchema,
  Signal,
} from "../../src/gen/runtime/v1/api_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TestDaemon } from "../support/daemon.ts";
import {
  busybox,
  CREATED,
  container,
  containerInfo,
  containerStatus,
  createIn,
  EXITED,
  inPod,
  Node,
  RUNNING,
  runIn,
  stop,
} from "../support/suites/containers.ts";
import { bare, cgroupsOfProcess, leakless } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

describe("ContainerStatus", () => {
  test(
    "shows the requested configuration and the current state",
    leakless(served, () =>
      inPod(
        daemon,
        bare({ logDirectory: path.join(daemon.paths.directory, "logs") }),
        async (pod) => {
          const resources = { memoryLimitInBytes: 64n << 20n, cpuShares: 512n, oomScoreAdj: 500n };
          const config = container({
            labels: { app: "test" },
            annotations: { note: "yes" },
            logPath: "c/0.log",
            mounts: [{ hostPath: daemon.paths.ipamDir, containerPath: "/data", readonly: true }],
            stopSignal: Signal.SIGUSR1,
            linux: {
              resources,
              securityContext: {
                runAsUser: { value: 1000n },
                runAsGroup: { value: 7n },
                supplementalGroups: [9n],
              },
            },
          });
          const id = await createIn(pod, config);
          const status = await containerStatus(daemon, id);
          const image = (await daemon.client.image.imageStatus({ image: { image: busybox } }))
            .image;
          assert.deepEqual(status.metadata?.name, config.metadata?.name);
          assert.equal(status.image?.image, busybox);
          assert.equal(status.imageRef, image?.repoDigests[0]);
          assert.equal(status.imageId, image?.id);
          assert.deepEqual(status.labels, { app: "test" });
          assert.deepEqual(status.annotations, { note: "yes" });
          assert.equal(status.logPath, path.join(daemon.paths.directory, "logs", "c/0.log"));
          assert.deepEqual(
            status.mounts.map(({ containerPath, readonly }) => [containerPath, readonly]),
            [["/data", true]],
          );
          assert.equal(status.stopSignal, Signal.SIGUSR1);
          const { uid, gid, supplementalGroups } = status.user?.linux ?? {};
          assert.deepEqual([uid, gid, supplementalGroups], [1000n, 7n, [7n, 9n, 2000n]]);
          const shown = status.resources?.linux;
          assert.equal(shown?.memoryLimitInBytes, resources.memoryLimitInBytes);
          assert.equal(shown.cpuShares, resources.cpuShares);
        },
      ),
    ),
  );

  test(
    "has an absolute log path even without a log, and SIGTERM by default",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const status = await containerStatus(daemon, await runIn(pod));
        assert.match(status.logPath, /^\/.+/);
        assert.ok(!existsSync(status.logPath));
        assert.equal(status.stopSignal, Signal.SIGTERM);
      }),
    ),
  );

  test(
    "has containerd's keys only in its verbose answer",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod);
        const short = await daemon.client.runtime.containerStatus({ containerId: id });
        assert.deepEqual(short.info, {});
        const info = await containerInfo(daemon, id);
        for (const key of [
          "sandboxID",
          "pid",
          "removing",
          "snapshotKey",
          "snapshotter",
          "runtimeType",
        ])
          assert.ok(info[key] !== undefined, key);
        assert.equal(info["sandboxID"], pod.id);
        const spec = info["runtimeSpec"] as {
          process: { args: string[] };
          linux: { cgroupsPath: string };
        };
        assert.deepEqual(spec.process.args, ["sleep", "100000"]);
        const { cgroupsPath } = spec.linux;
        // With systemd: its slice, and the two parts of the name of its scope.
        const [, prefix, name] = cgroupsPath.split(":");
        const cgroup = name === undefined ? cgroupsPath : `/${prefix}-${name}.scope`;
        const all = cgroupsOfProcess(Number(info["pid"]));
        assert.ok(
          all.some((each) => each.endsWith(cgroup)),
          `${cgroup} in ${all.join(", ")}`,
        );
        assert.equal((info["config"] as { command: string[] }).command[0], "sleep");
        // A status call creates no spec. The start does.
        const source = path.join(daemon.paths.directory, "made-at-the-start");
        const mounts = [{ containerPath: "/m", hostPath: source }];
        const created = await createIn(pod, container({ mounts }));
        rmSync(source, { recursive: true, force: true });
        assert.equal((await containerInfo(daemon, created))["runtimeSpec"], null);
        assert.equal(existsSync(source), false);
      }),
    ),
  );

  test(
    "is part of the pod's status: containers_statuses of the same moment, newest first",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const older = await runIn(pod);
        const ids = [await createIn(pod), older];
        const answer = await daemon.client.runtime.podSandboxStatus({ podSandboxId: pod.id });
        const own = await Promise.all(ids.map((id) => containerStatus(daemon, id)));
        assert.deepEqual(answer.containersStatuses, own);
        assert.ok(answer.timestamp > 0n);
      }),
    ),
  );
});

describe("ListContainers and StreamContainers", () => {
  type Filter = MessageInitShape<typeof ContainerFilterSchema>;

  async function listed(filter?: Filter): Promise<readonly Container[]> {
    const request = filter === undefined ? {} : { filter };
    const { containers } = await daemon.client.runtime.listContainers(request);
    const streamed: Container[] = [];
    for await (const each of daemon.client.runtime.streamContainers(request)) {
      streamed.push(...each.containers);
    }
    assert.deepEqual(streamed, containers);
    return containers;
  }

  test(
    "filter by id, pod, state and labels",
    leakless(served, () =>
      inPod(daemon, bare(), (a) =>
        inPod(daemon, bare(), async (b) => {
          const labels = { app: "x", tier: "y" };
          const one = await createIn(a, container({ labels }));
          const two = await runIn(a, container({ labels: { app: "x" } }));
          const three = await runIn(b);
          await stop(daemon, three);
          const ids = async (filter?: Filter): Promise<readonly string[]> =>
            (await listed(filter)).map(({ id }) => id).sort();
          const sorted = (...each: readonly string[]): readonly string[] => [...each].sort();
          assert.deepEqual(await ids(), sorted(one, two, three));
          assert.deepEqual(await ids({}), sorted(one, two, three));
          assert.deepEqual(await ids({ id: two }), [two]);
          assert.deepEqual(await ids({ id: two.slice(0, 20) }), [two]);
          assert.deepEqual(await ids({ id: "0".repeat(64) }), []);
          assert.deepEqual(await ids({ podSandboxId: a.id }), sorted(one, two));
          assert.deepEqual(await ids({ podSandboxId: b.id.slice(0, 20) }), [three]);
          assert.deepEqual(await ids({ state: { state: CREATED } }), [one]);
          assert.deepEqual(await ids({ state: { state: RUNNING } }), [two]);
          assert.deepEqual(await ids({ state: { state: EXITED } }), [three]);
          assert.deepEqual(await ids({ labelSelector: { app: "x" } }), sorted(one, two));
          assert.deepEqual(await ids({ labelSelector: labels }), [one]);
          assert.deepEqual(await ids({ labelSelector: { app: "x" }, podSandboxId: b.id }), []);
          const [item] = await listed({ id: one });
          assert.ok(item !== undefined);
          const image = await daemon.client.image.imageStatus({ image: { image: busybox } });
          assert.equal(item.imageId, image.image?.id);
          assert.equal(item.imageRef, image.image?.id);
          assert.equal(item.image?.image, busybox);
          assert.equal(item.podSandboxId, a.id);
          assert.ok(item.createdAt > 0n);
        }),
      ),
    ),
  );
});
