/** Plugins of the node (NRI): what they are told, what they change, and what happens when they fail. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ContainerState, type PodSandbox } from "../../src/gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { connectPlugin, nriStatus, pluginNames, withPlugins } from "../support/nri.ts";
import {
  container,
  containerStatus,
  createIn,
  EXITED,
  exited,
  inPod,
  Node,
  pidOf,
  remove,
  runIn,
  script,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  launchDaemon,
  listIds,
  parentOf,
  pod,
  removePod,
  runPod,
  stopPod,
  until,
} from "../support/suites/pods.ts";

const {
  CONTAINER_UNKNOWN: UNKNOWN,
  CONTAINER_CREATED: CREATED,
  CONTAINER_RUNNING: RUNNING,
  CONTAINER_STOPPED: STOPPED,
} = ContainerState;

function assertPod(told: PodSandbox, id: string, config: PodSandboxConfig): void {
  const { metadata, labels, annotations } = config;
  assert.ok(metadata !== undefined);
  const { name, namespace, uid } = metadata;
  assert.partialDeepStrictEqual(told, { id, name, namespace, uid, labels, annotations });
  assert.equal(told.linux?.cgroupParent, parentOf(config));
  assert.ok(told.linux.namespaces.some(({ type, path }) => type === "network" && path !== ""));
  assert.equal(told.ips.length, 1);
}

let node: Node;
let daemon: TestDaemon;

before(async () => {
  node = await Node.startWithBusybox({
    config: { nri: { ...withPlugins.nri, plugin_request_timeout: 1 } },
  });
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

const memory = (limit: bigint) => ({ resources: { memory: { limit: { value: limit } } } });
const mib = 1n << 20n;

describe("a plugin", () => {
  test("is told about each step of a pod and its container", async () => {
    using plugin = await connectPlugin(daemon);
    const config = pod({}, { annotations: { "team.example/x": "1" } });
    const podId = await runPod(daemon, config);
    const wanted = container({
      labels: { app: "web" },
      annotations: { note: "me" },
      envs: [{ key: "COLOUR", value: Buffer.from("blue") }],
    });
    const id = await createIn({ daemon, id: podId, config }, wanted);
    await start(daemon, id);
    const pid = await pidOf(daemon, id);
    await daemon.client.runtime.updateContainerResources({
      containerId: id,
      linux: { cpuShares: 512n },
    });
    await stop(daemon, id);
    await remove(daemon, id);
    await stopPod(daemon, podId);
    await stopPod(daemon, podId);
    await removePod(daemon, podId);
    assert.deepEqual(plugin.namesOf(podId), [
      "runPodSandbox",
      "stopPodSandbox",
      "removePodSandbox",
    ]);
    assert.deepEqual(plugin.namesOf(id), [
      "createContainer",
      "postCreateContainer",
      "startContainer",
      "postStartContainer",
      "updateContainer",
      "postUpdateContainer",
      "stopContainer",
      "removeContainer",
    ]);
    const [run] = plugin.events;
    assert.ok(run?.pod !== undefined);
    assertPod(run.pod, podId, config);
    const seen = plugin.events.flatMap(({ container: told }) => (told === undefined ? [] : [told]));
    for (const each of seen) {
      assert.partialDeepStrictEqual(each, {
        name: wanted.metadata?.name ?? "",
        podSandboxId: podId,
        args: ["sleep", "100000"],
        labels: { app: "web" },
        annotations: { note: "me" },
      });
      assert.ok(each.env.includes("COLOUR=blue"));
      assert.ok(each.mounts.some(({ destination }) => destination === "/proc"));
      assert.match(each.image?.configDigest ?? "", /^sha256:/);
    }
    assert.deepEqual(
      seen.map(({ state }) => state),
      [UNKNOWN, CREATED, CREATED, RUNNING, RUNNING, RUNNING, STOPPED, STOPPED],
    );
    assert.deepEqual(
      seen.slice(2, 6).map((each) => each.pid),
      [pid, pid, pid, pid],
    );
    assert.equal(seen[6]?.exitCode, 137);
  });

  test("is told when a container ends by itself", async () => {
    using plugin = await connectPlugin(daemon);
    await inPod(daemon, bare(), async (inside) => {
      const id = await runIn(inside, script("exit 3"));
      const { container: told } = await plugin.untilTold("stopContainer", id);
      assert.equal(told?.exitCode, 3);
      await stop(daemon, id);
      await remove(daemon, id);
      const ends = plugin.namesOf(id).filter((name) => /^(stop|remove)/.test(name));
      assert.deepEqual(ends, ["stopContainer", "removeContainer"]);
    });
  });

  test("adjusts a container", async () => {
    using _plugin = await connectPlugin(daemon, {
      answers: {
        createContainer: () => ({
          adjust: {
            env: [{ key: "INJECTED", value: "by a plugin" }],
            mounts: [
              { destination: "/host-etc", type: "bind", source: "/etc", options: ["rbind", "ro"] },
            ],
            annotations: { "plugin.example/x": "y" },
            rlimits: [{ type: "RLIMIT_NOFILE", hard: 222n, soft: 111n }],
            linux: {
              devices: [
                {
                  path: "/dev/nothing",
                  type: "c",
                  major: 1n,
                  minor: 3n,
                  fileMode: { value: 0o666 },
                },
              ],
              ...memory(64n * mib),
            },
          },
        }),
      },
    });
    await inPod(daemon, bare(), async (inside) => {
      const id = await runIn(inside);
      assert.equal(await sh(daemon, id, "echo $INJECTED"), "by a plugin");
      assert.equal(await sh(daemon, id, "test -e /host-etc/passwd && echo there"), "there");
      assert.equal(await sh(daemon, id, "ulimit -Sn; ulimit -Hn"), "111\n222");
      assert.equal(await sh(daemon, id, "echo x > /dev/nothing && echo ok"), "ok");
      const { resources } = await containerStatus(daemon, id);
      assert.equal(resources?.linux?.memoryLimitInBytes, 64n * mib);
    });
  });

  test("refuses a pod, and nothing is left of it", async () => {
    using plugin = await connectPlugin(daemon, {
      name: "strict",
      answers: { runPodSandbox: () => Promise.reject(new Error("no room for it")) },
    });
    const known = await listIds(daemon);
    await assert.rejects(
      runPod(daemon, bare()),
      failsWith(code.failedPrecondition, /"10-strict" refused .*no room for it/),
    );
    assert.deepEqual(await listIds(daemon), known);
    assert.deepEqual(
      plugin.events.map(({ name }) => name),
      ["runPodSandbox", "stopPodSandbox", "removePodSandbox"],
    );
    const { failures } = await nriStatus(daemon);
    assert.partialDeepStrictEqual(failures.at(-1), { plugin: "10-strict", event: "RunPodSandbox" });
  });

  test("refuses a container, and nothing is left of it", async () => {
    let refuses = true;
    using _plugin = await connectPlugin(daemon, {
      name: "strict",
      answers: {
        createContainer: () => {
          if (refuses) throw new Error("not this one");
          return {};
        },
      },
    });
    await inPod(daemon, bare(), async (inside) => {
      const wanted = container();
      await assert.rejects(
        createIn(inside, wanted),
        failsWith(code.failedPrecondition, /"10-strict" refused .*not this one/),
      );
      const { containers } = await daemon.client.runtime.listContainers({});
      assert.deepEqual(containers, []);
      refuses = false;
      await createIn(inside, wanted);
    });
  });

  test("that does not answer in time is disconnected, and the container starts", async () => {
    using _plugin = await connectPlugin(daemon, {
      name: "slow",
      answers: { createContainer: () => new Promise(() => undefined) },
    });
    await inPod(daemon, bare(), async (inside) => {
      await runIn(inside);
      await until("it is gone", async () => !(await pluginNames(daemon)).includes("10-slow"));
      const { failures } = await nriStatus(daemon);
      assert.partialDeepStrictEqual(failures.at(-1), { plugin: "10-slow", dropped: true });
    });
  });

  test("that dies is disconnected, and the container starts", async () => {
    using dying = await connectPlugin(daemon, {
      name: "mortal",
      answers: {
        createContainer: () => {
          dying[Symbol.dispose]();
          return new Promise(() => undefined);
        },
      },
    });
    await inPod(daemon, bare(), async (inside) => {
      await runIn(inside);
      await until("it is gone", async () => !(await pluginNames(daemon)).includes("10-mortal"));
    });
  });

  test("updates and evicts containers by itself", async () => {
    using noting = await connectPlugin(daemon);
    await inPod(daemon, bare(), async (inside) => {
      const id = await runIn(inside);
      const { failed } = await noting.plugin.update({
        update: [{ containerId: id, linux: memory(80n * mib) }],
      });
      assert.deepEqual(failed, []);
      const { resources } = await containerStatus(daemon, id);
      assert.equal(resources?.linux?.memoryLimitInBytes, 80n * mib);
      await noting.plugin.update({ evict: [{ containerId: id, reason: "too loud" }] });
      await exited(daemon, id);
      const { state, message } = await containerStatus(daemon, id);
      assert.equal(state, EXITED);
      assert.match(message, /evicted by plugin "10-test": too loud/);
    });
  });
});

test("two plugins that contradict each other fail the container, and both are named", async () => {
  const setting = (value: string) => ({
    createContainer: () => ({ adjust: { env: [{ key: "MODE", value }] } }),
  });
  using _one = await connectPlugin(daemon, { name: "one", answers: setting("a") });
  using _two = await connectPlugin(daemon, { name: "two", index: "20", answers: setting("b") });
  await inPod(daemon, bare(), async (inside) => {
    await assert.rejects(createIn(inside), (error: unknown) => {
      const { message } = error as Error;
      assert.match(message, /one/);
      assert.match(message, /two/);
      return true;
    });
  });
});

test("a plugin updates another container when one is created", async () => {
  let other = "";
  using _plugin = await connectPlugin(daemon, {
    answers: {
      createContainer: () =>
        other === "" ? {} : { update: [{ containerId: other, linux: memory(48n * mib) }] },
    },
  });
  await inPod(daemon, bare(), async (inside) => {
    other = await runIn(inside);
    await createIn(inside);
    const { resources } = await containerStatus(daemon, other);
    assert.equal(resources?.linux?.memoryLimitInBytes, 48n * mib);
  });
});

test("a plugin that comes after a restart sees what lives, with its adjustments", async () => {
  const config = bare();
  const podId = await runPod(daemon, config);
  const inside = { daemon, id: podId, config };
  let created: string;
  let running: string;
  {
    using _plugin = await connectPlugin(daemon, {
      answers: { createContainer: () => ({ adjust: { env: [{ key: "KEPT", value: "1" }] } }) },
    });
    running = await runIn(inside);
    created = await createIn(inside);
  }
  const pid = await pidOf(daemon, running);
  await daemon.stop();
  await launchDaemon(daemon);
  using plugin = await connectPlugin(daemon);
  const mine = plugin.containers.filter(({ podSandboxId }) => podSandboxId === podId);
  assert.deepEqual(mine.map(({ id }) => id).toSorted(), [running, created].toSorted());
  assert.ok(mine.every(({ env }) => env.includes("KEPT=1")));
  assert.equal(mine.find(({ id }) => id === running)?.pid, pid);
  assert.ok(plugin.pods.some(({ id }) => id === podId));
  await start(daemon, created);
  assert.equal(await sh(daemon, created, "echo $KEPT"), "1");
  await removePod(daemon, podId);
  assert.deepEqual(plugin.namesOf(podId), ["stopPodSandbox", "removePodSandbox"]);
  assert.deepEqual(plugin.namesOf(running), ["stopContainer", "removeContainer"]);
});
