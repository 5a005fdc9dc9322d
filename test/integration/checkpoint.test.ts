/** Checkpoints of containers and pods by CRIU, and what continues from them. */
// variants: runc
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { patient } from "../support/patience.ts";
import {
  byRunc,
  type ContainerInit,
  container,
  containerStatus,
  CREATED,
  createIn,
  inPod,
  Node,
  openPod,
  type Pod,
  pidOf,
  remove,
  requestIn,
  RUNNING,
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
  isFrozen,
  leakless,
  listIds,
  openDirectories,
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
const directory = mkdtempSync(path.join(tmpdir(), "davit-checkpoints-"));
const at = (name: string): string => path.join(directory, name);
const timeoutMs = patient(30_000);

/** Counts, and knows a word that only its memory has. */
const counter = (changes: ContainerInit = {}): ContainerInit =>
  script(
    "word=$(cat /proc/sys/kernel/random/uuid); i=0; trap 'exit 0' TERM; while :; do i=$((i+1)); echo $word $i | tee /state; sleep 0.1; done",
    changes,
  );

before(async () => {
  node = await Node.startWithBusybox({ config: { checkpoint: { restore_containers: true } } });
  daemon = node.daemon;
  openDirectories(daemon);
  // The first pod creates the bridge, the first checkpoint and the first restore directories. All of them stay.
  const location = at("first.tar");
  await inPod(daemon, podOf(), async (pod) => {
    await checkpointContainer(await runIn(pod), location);
    await createIn(pod, container({ image: { image: location } }));
  });
  rmSync(location);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** The word and the count of a running counter. */
async function stateOf(id: string): Promise<{ readonly word: string; readonly count: number }> {
  const text = await until("the counter counts", async () => {
    const said = await sh(daemon, id, "cat /state 2>/dev/null || :");
    return /^\S+ \d+$/.test(said) ? said : undefined;
  });
  const [word = "", count] = text.split(" ");
  return { word, count: Number(count) };
}

/** Resolves when a counter has passed `count`, with the same word. */
async function continuesFrom(
  id: string,
  before: { readonly word: string; readonly count: number },
) {
  await until(`container ${id} continues to count`, async () => {
    const now = await stateOf(id);
    assert.equal(now.word, before.word);
    return now.count > before.count;
  });
}

function checkpointContainer(containerId: string, location: string): Promise<unknown> {
  return daemon.client.runtime.checkpointContainer({ containerId, location, timeout: 0n });
}

function checkpointPod(pod: Pod, containerIds: readonly string[], outputPath: string) {
  const request = { podSandboxId: pod.id, outputPath, containerIds: [...containerIds] };
  return daemon.client.runtime.checkpointPod(request, { timeoutMs });
}

function newDirectory(): string {
  const output = at(randomUUID());
  mkdirSync(output, { mode: 0o700 });
  return output;
}

/** The configs of a new pod's containers, as a client sends them. */
function configsFor(pod: Pick<Pod, "config">, configs: readonly ContainerInit[]) {
  return configs.map((config) => requestIn({ daemon, id: "", ...pod }, config).config);
}

async function isPaused(id: string): Promise<boolean> {
  const [cgroup = ""] = cgroupsOfProcess(await pidOf(daemon, id)).filter((each) =>
    each.includes(id),
  );
  return isFrozen(cgroup);
}

function listing(archive: string): readonly string[] {
  return execFileSync("tar", ["-tf", archive], { encoding: "utf8" }).trim().split("\n");
}

function jsonIn(archive: string, name: string): Readonly<Record<string, unknown>> {
  const text = execFileSync("tar", ["-xOf", archive, name], { encoding: "utf8" });
  return JSON.parse(text) as Record<string, unknown>;
}

describe("CheckpointContainer", () => {
  test(
    "writes an archive that others can read, and the container runs on",
    leakless(served, () =>
      inPod(daemon, podOf(), async (pod) => {
        const config = counter();
        const id = await runIn(pod, config);
        const seen = await stateOf(id);
        const location = at("container.tar");
        await checkpointContainer(id, location);
        assert.equal(statSync(location).mode & 0o7777, 0o600);
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        await continuesFrom(id, seen);
        const names = listing(location);
        for (const name of ["spec.dump", "config.dump", "rootfs-diff.tar", "davit.json"]) {
          assert.ok(names.includes(name), `${name} in ${names.join(" ")}`);
        }
        assert.ok(names.includes("checkpoint/inventory.img"), names.join(" "));
        const dump = jsonIn(location, "config.dump");
        assert.equal(dump["id"], id);
        assert.equal(dump["runtime"], byRunc ? "runc" : "crun");
        const spec = jsonIn(location, "spec.dump") as { process?: { args?: unknown } };
        assert.deepEqual(spec.process?.args, config.command);
        const taken = failsWith(code.alreadyExists, /container\.tar/);
        await assert.rejects(checkpointContainer(id, location), taken);
        rmSync(location);
      }),
    ),
  );

  test(
    "refuses what it cannot do, and writes nothing",
    leakless(served, () =>
      inPod(daemon, podOf(), async (pod) => {
        const id = await createIn(pod);
        const refused = failsWith(code.failedPrecondition, /is created, not running/);
        await assert.rejects(checkpointContainer(id, at("x.tar")), refused);
        await assert.rejects(checkpointContainer("0123", at("x.tar")), failsWith(code.notFound));
        await start(daemon, id);
        const invalid = failsWith(code.invalidArgument);
        await assert.rejects(checkpointContainer(id, "x.tar"), invalid);
        await assert.rejects(checkpointContainer(id, at("none/x.tar")), invalid);
        assert.deepEqual(readdirSync(directory), []);
        assert.equal(await isPaused(id), false);
      }),
    ),
  );

  test(
    "is what a new container can continue from",
    leakless(served, async () => {
      const location = at("moved.tar");
      let seen = { word: "", count: 0 };
      await inPod(daemon, podOf(), async (pod) => {
        const id = await runIn(pod, counter());
        await sh(daemon, id, "echo kept > /new; rm /etc/group || rm /etc/passwd");
        seen = await stateOf(id);
        await checkpointContainer(id, location);
      });
      await inPod(daemon, podOf(), async (pod) => {
        const id = await createIn(pod, counter({ image: { image: location } }));
        assert.equal((await containerStatus(daemon, id)).state, CREATED);
        await start(daemon, id);
        await continuesFrom(id, seen);
        assert.equal(await sh(daemon, id, "cat /new"), "kept");
        await stop(daemon, id, 10);
      });
      assert.deepEqual(readdirSync(path.join(daemon.paths.root, "checkpoints/restores")), []);
      rmSync(location);
    }),
  );
});

describe("CheckpointPod and RestorePod", () => {
  /** Runs two counters in a pod that shares PIDs, and makes a checkpoint of it. */
  async function checkpointOf(output: string) {
    const configs = [counter(), counter()];
    const pod = await openPod(daemon, podOf({ pid: POD }, { hostname: "before" }));
    const ids = [];
    for (const config of configs) ids.push(await runIn(pod, config));
    const seen = await Promise.all(ids.map(stateOf));
    await checkpointPod(pod, ids, output);
    for (const [index, id] of ids.entries()) {
      assert.equal(await isPaused(id), false);
      await continuesFrom(id, seen[index] ?? { word: "", count: 0 });
    }
    await removePod(daemon, pod.id);
    return { configs, seen };
  }

  /** The request for a pod that continues from a checkpoint. */
  function restoreOf(
    checkpointPath: string,
    config: PodSandboxConfig,
    configs: readonly ContainerInit[],
  ) {
    const containerConfigs = configsFor({ config }, configs);
    return { checkpointPath, config, containerConfigs };
  }

  test(
    "a pod that shares PIDs and IPC continues in another one",
    leakless(served, async () => {
      const output = newDirectory();
      const { configs, seen } = await checkpointOf(output);
      const config = podOf({ pid: POD }, { hostname: "after" });
      const request = restoreOf(output, config, configs);
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
        await continuesFrom(containerId, seen[index] ?? { word: "", count: 0 });
        assert.equal(await sh(daemon, containerId, "hostname"), "after");
      }
      const [first] = restoredContainers;
      const processes = await sh(daemon, first?.containerId ?? "", "ps -o args");
      assert.equal(processes.match(/kernel\/random/g)?.length, 2, processes);
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
    "restores what does not fit not at all",
    leakless(served, async () => {
      const output = newDirectory();
      const { configs } = await checkpointOf(output);
      const before = await listIds(daemon);
      const [one, other] = configs;
      assert.ok(one !== undefined && other !== undefined);
      const config = podOf({ pid: POD });
      const invalid = failsWith(code.invalidArgument);
      const rows = [
        [restoreOf(output, config, [one]), invalid],
        [restoreOf(output, config, [one, other, container()]), invalid],
        [restoreOf(output, config, [one, one]), invalid],
        [restoreOf(at("none"), config, configs), failsWith(code.notFound)],
        [{ ...restoreOf(output, config, configs), options: { x: "" } }, invalid],
        [{ ...restoreOf(output, config, configs), runtimeHandler: "none" }, invalid],
        [
          restoreOf(output, config, [one, { ...other, image: { image: "none" } }]),
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
        const output = newDirectory();
        const id = await runIn(pod, counter());
        const server = await runIn(pod, script("sleep 1000 | nc -l -p 9000"));
        const client = await runIn(
          pod,
          script("while :; do sleep 1000 | nc 127.0.0.1 9000; sleep 0.1; done"),
        );
        await until("they are connected", async () =>
          (await sh(daemon, client, "netstat -tn")).includes("ESTABLISHED"),
        );
        const seen = await stateOf(id);
        const call = checkpointPod(pod, [id, server, client], output);
        await assert.rejects(call, failsWith(code.failedPrecondition, /TCP/));
        assert.deepEqual(readdirSync(output), []);
        assert.ok(existsSync(output));
        await continuesFrom(id, seen);
        for (const each of [id, server, client]) assert.equal(await isPaused(each), false);
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

test("the log of a restored container has what it says from then on", () =>
  inPod(daemon, podOf(), async (pod) => {
    const location = at("logged.tar");
    const logs = at("logs");
    mkdirSync(logs);
    const id = await runIn(pod, counter());
    const seen = await stateOf(id);
    await checkpointContainer(id, location);
    const config = podOf({}, { logDirectory: logs });
    await inPod(daemon, config, async (other) => {
      const moved = await createIn(
        other,
        counter({ image: { image: location }, logPath: "0.log" }),
      );
      await start(daemon, moved);
      await continuesFrom(moved, seen);
      await until("it logs", () =>
        readFileSync(path.join(logs, "0.log"), "utf8").includes(seen.word),
      );
    });
    rmSync(location);
  }));
