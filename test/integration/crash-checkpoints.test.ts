/** The daemon dies or fails at every stage of checkpoints and restores of pods: no container stays paused. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { type CrashPoint, crashPoints } from "../../src/core/operation/index.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  CheckpointDirectory,
  checkpointContainer,
  checkpointNode,
  checkpointPod,
  continuesFrom,
  counter,
  isPaused,
  restoreOf,
  stateOf,
} from "../support/suites/checkpoints.ts";
import {
  CREATED,
  createIn,
  inPod,
  type Node,
  openPod,
  type Pod,
  runIn,
} from "../support/suites/containers.ts";
import {
  launchDaemon,
  listIds,
  POD,
  pod as podOf,
  removePod,
  until,
} from "../support/suites/pods.ts";
import { checkpointPoints } from "../support/crash/spots.ts";

let node: Node;
let daemon: TestDaemon;
const directory = new CheckpointDirectory();
/** A checkpoint of a pod with this container. */
const saved = directory.at("saved");
const config = counter();

before(async () => {
  node = await checkpointNode(directory);
  daemon = node.daemon;
  await inPod(daemon, podOf({ pid: POD }), async (pod) => {
    const id = await runIn(pod, config);
    await stateOf(daemon, id);
    const output = directory.make();
    await checkpointPod(pod, [id], output);
    renameSync(output, saved);
  });
});
after(async () => {
  await node[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

const pointsOf = (operation: string): readonly CrashPoint[] =>
  crashPoints.filter((point) => point.startsWith(`${operation}/`));
const container = pointsOf("checkpoint-container");
const pod = pointsOf("checkpoint-pod");
const restore = pointsOf("restore-pod");
const archive: readonly CrashPoint[] = [
  "create-container/open-checkpoint",
  "create-container/copy-log",
];
const imports = pointsOf("import-snapshot");

test("every crash point of checkpoints is tested here", () => {
  const all = [...container, ...pod, ...restore, ...archive, ...imports];
  assert.deepEqual([...all].toSorted(), [...checkpointPoints].toSorted());
});

/** Starts the daemon again, with a fault. */
async function begin(fault: string): Promise<void> {
  await daemon.stop();
  await launchDaemon(daemon, { DAVIT_FAULTS: fault });
}

/** Makes a call whose fault kills the daemon, and starts the next one. */
async function killedBy(call: Promise<unknown>): Promise<void> {
  await Promise.allSettled([call]);
  const exit = await daemon.exited;
  assert.equal(exit.signal, "SIGKILL", daemon.tail(10));
  await launchDaemon(daemon);
}

/** What the daemon keeps of checkpoints that are not finished. */
function unfinished(): readonly string[] {
  return ["captures", "restores", "partial", "snapshots"].flatMap((name) => {
    const at = path.join(daemon.paths.root, "checkpoints", name);
    const names = existsSync(at) ? readdirSync(at) : [];
    return name === "snapshots" ? names.filter((each) => each.startsWith(".")) : names;
  });
}

/** The chunks of an import. */
async function* requestsOf(archive: Buffer) {
  yield { data: archive };
}

async function imported(archive: Buffer): Promise<void> {
  const answers = daemon.client.checkpoints.importSnapshot(requestsOf(archive));
  for await (const { snapshot } of answers) assert.ok(snapshot !== undefined);
}

/** The archive of a snapshot of a pod, which the node does not keep. */
async function exported(): Promise<Buffer> {
  const { checkpoints } = daemon.client;
  const pod = await openPod(daemon, podOf({ pid: POD }));
  await runIn(pod, counter());
  const { id } = await checkpoints.takeSnapshot({ sandboxId: pod.id });
  const parts: Uint8Array[] = [];
  for await (const { data } of checkpoints.exportSnapshot({ id })) parts.push(data);
  await checkpoints.removeSnapshot({ id });
  await removePod(daemon, pod.id);
  return Buffer.concat(parts);
}

/** A pod with a counter that runs, before and after `use`, in which a checkpoint of it is made. */
async function withCounter(use: (pod: Pod, id: string) => Promise<void>): Promise<void> {
  const config = podOf({ pid: POD });
  await inPod(daemon, config, async (pod) => {
    const id = await runIn(pod, counter());
    const seen = await stateOf(daemon, id);
    await use(pod, id);
    await until("it is not paused", async () => !(await isPaused(daemon, id)));
    await continuesFrom(daemon, id, seen);
    await until("nothing is left of the checkpoint", () => unfinished().length === 0);
  });
}

describe("kill -9 at every stage", () => {
  for (const point of container) {
    test(point, () =>
      withCounter(async (_pod, id) => {
        const location = directory.at("out.tar");
        await begin(`${point}=kill`);
        await killedBy(checkpointContainer(daemon, id, location));
        assert.equal(existsSync(location), point.endsWith("/answer"));
        rmSync(location, { force: true });
      }),
    );
  }
  for (const point of pod) {
    test(point, () =>
      withCounter(async (pod, id) => {
        await begin(`${point}=kill`);
        await killedBy(checkpointPod(pod, [id], directory.make()));
      }),
    );
  }
  for (const point of restore) {
    test(point, async () => {
      const before = await listIds(daemon);
      await begin(`${point}=kill`);
      const request = restoreOf(daemon, saved, podOf({ pid: POD }), [config]);
      await killedBy(daemon.client.runtime.restorePod(request));
      const made = (await listIds(daemon)).filter((id) => !before.includes(id));
      const { containers } = await daemon.client.runtime.listContainers({});
      const states = containers.filter((each) => made.includes(each.podSandboxId));
      // Only what is complete is listed.
      const isFinished = point.endsWith("/answer");
      assert.equal(made.length, isFinished ? 1 : 0);
      assert.deepEqual(
        states.map(({ state }) => state),
        isFinished ? [CREATED] : [],
      );
      for (const id of made) await removePod(daemon, id);
      await until("nothing of it is left", () => unfinished().length === 0);
    });
  }
});

test("kill -9 and a failure at every stage of an import", async () => {
  const archive = await exported();
  for (const point of imports) {
    for (const action of ["kill", "throw"] as const) {
      await begin(`${point}=${action}`);
      const call = imported(archive);
      if (action === "kill") await killedBy(call);
      else await assert.rejects(call, /a fault was injected/);
      await until(`nothing is left of ${point}`, () => unfinished().length === 0);
      const { snapshots } = await daemon.client.checkpoints.listSnapshots({});
      const isKept = point.endsWith("/answer") && action === "kill";
      assert.equal(snapshots.length, isKept ? 1 : 0, `${point}=${action}`);
      for (const { id } of snapshots) await daemon.client.checkpoints.removeSnapshot({ id });
    }
  }
});

describe("a failure, of those that the unit tests walk", () => {
  test("checkpoint-container/write-archive", () =>
    withCounter(async (_pod, id) => {
      const location = directory.at("out.tar");
      await begin("checkpoint-container/write-archive=throw");
      await assert.rejects(checkpointContainer(daemon, id, location), /a fault was injected/);
      assert.ok(!existsSync(location));
      assert.equal(await isPaused(daemon, id), false);
    }));

  test("checkpoint-pod/capture-files", () =>
    withCounter(async (pod, id) => {
      const output = directory.make();
      await begin("checkpoint-pod/capture-files=throw");
      await assert.rejects(checkpointPod(pod, [id], output), /a fault was injected/);
      assert.deepEqual(readdirSync(output), []);
      assert.equal(await isPaused(daemon, id), false);
    }));

  test("restore-pod/answer", async () => {
    const before = await listIds(daemon);
    await begin("restore-pod/answer=throw");
    const request = restoreOf(daemon, saved, podOf({ pid: POD }), [config]);
    await assert.rejects(daemon.client.runtime.restorePod(request), /a fault was injected/);
    assert.deepEqual(await listIds(daemon), before);
    assert.deepEqual(unfinished(), []);
  });
});

test("an archive that is being opened when the daemon dies, or that fails", async () => {
  const logDirectory = directory.at("logs");
  mkdirSync(logDirectory);
  const pod = await openPod(daemon, podOf({}, { logDirectory }));
  const location = directory.at("one.tar");
  const id = await runIn(pod, counter());
  await checkpointContainer(daemon, id, location);
  for (const point of archive) {
    for (const action of ["kill", "throw"] as const) {
      await begin(`${point}=${action}`);
      const create = createIn(pod, counter({ image: { image: location }, logPath: "0.log" }));
      if (action === "kill") await killedBy(create);
      else await assert.rejects(create, /a fault was injected/);
      await until("nothing is left of it", () => unfinished().length === 0);
      assert.deepEqual(readdirSync(logDirectory), []);
    }
  }
  await removePod(daemon, pod.id);
});
