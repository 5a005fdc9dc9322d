/** Stop and Remove of containers with a process that not even SIGKILL ends. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { noStuckDisk, StuckDisk } from "../support/stuck-disk.ts";
import {
  closePod,
  container,
  containerStatus,
  createIn,
  EXITED,
  exec,
  exited,
  type Pod,
  Node,
  openPod,
  remove,
  RUNNING,
  runIn,
  script,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  leakless,
  NODE,
  NOTREADY,
  pod,
  READY,
  removePod,
  runtimeFact,
  statusOf,
  stopPod,
  until,
  withPod,
} from "../support/suites/pods.ts";

interface FailedTeardown {
  readonly subject: string;
  readonly tries: number;
  readonly lastError: string;
}

// The error names the process, its state, its place in the kernel, and what to do next.
const named =
  /process \d+ \("\w+"\) in state D \(uninterruptible sleep\), waiting in \w+.*restart the node/;

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

async function failedTeardowns(): Promise<readonly FailedTeardown[]> {
  return (await runtimeFact(daemon, "failedEnds")) as readonly FailedTeardown[];
}

/** Runs a container that has a process waiting for the disk. */
async function runHanging(inPod: Pod, disk: StuckDisk, text: string): Promise<string> {
  const before = disk.hanging;
  const mounts = [{ containerPath: "/disk", hostPath: disk.directory }];
  const id = await runIn(inPod, script(text, { mounts }));
  await until("a process hangs", () => disk.hanging > before);
  return id;
}

/** Stop and Remove name the process and end, delay no other pod, and succeed later. */
async function stopAndRemove(): Promise<void> {
  await using disk = await StuckDisk.mount();
  const stuck = await openPod(daemon, pod());
  const other = await runIn(stuck);
  const id = await runHanging(stuck, disk, "cat /disk/hang & wait");

  let stopped = false;
  const failed = assert
    .rejects(stop(daemon, id), failsWith(code.deadlineExceeded, named))
    .finally(() => {
      stopped = true;
    });
  const alsoFailed = Promise.all([
    assert.rejects(stop(daemon, id, 1), failsWith(code.deadlineExceeded, named)),
    assert.rejects(remove(daemon, id), failsWith(code.deadlineExceeded, named)),
    assert.rejects(stopPod(daemon, stuck.id), failsWith(code.deadlineExceeded, named)),
  ]);
  await withPod(daemon, pod(), async (free) => {
    const config = pod();
    await stop(daemon, await runIn({ daemon, id: free, config }));
    assert.equal((await statusOf(daemon, free)).state, READY);
  });
  assert.equal(stopped, false, "the other pod had to wait");
  await Promise.all([failed, alsoFailed]);

  assert.equal((await containerStatus(daemon, id)).state, RUNNING);
  assert.equal((await containerStatus(daemon, other)).state, EXITED);
  assert.equal((await statusOf(daemon, stuck.id)).state, NOTREADY);
  await assert.rejects(removePod(daemon, stuck.id), failsWith(code.deadlineExceeded, named));
  const failures = (await failedTeardowns()).filter(({ subject }) =>
    [id, stuck.id].includes(subject),
  );
  assert.equal(failures.length, 2);
  for (const { tries, lastError } of failures) {
    assert.ok(tries >= 2);
    assert.match(lastError, named);
  }

  await disk.release();
  assert.equal((await exited(daemon, id)).exitCode, 137);
  await stop(daemon, id);
  await stopPod(daemon, stuck.id);
  await closePod(stuck);
}

/** A process that outlives its container's first one keeps only the removal waiting. */
async function outliveFirstProcess(): Promise<void> {
  await using disk = await StuckDisk.mount();
  const modes = bare();
  const options = modes.linux?.securityContext?.namespaceOptions;
  if (options !== undefined) options.pid = NODE;
  const stuck = await openPod(daemon, modes);
  const text = "cat /disk/hang & until [ -e /go ]; do sleep 0.05; done; exit 3";
  const id = await runHanging(stuck, disk, text);
  await daemon.client.runtime.execSync({
    containerId: id,
    cmd: ["touch", "/go"],
    timeout: 10n,
  });
  assert.equal((await exited(daemon, id)).exitCode, 3);
  await stop(daemon, id);
  await assert.rejects(remove(daemon, id), failsWith(code.deadlineExceeded, named));
  assert.ok((await failedTeardowns()).some(({ subject }) => subject === id));
  await disk.release();
  await remove(daemon, id);
  await closePod(stuck);
}

/** Creates that look at volumes there say which, and take no more threads than they may. */
async function checkVolumes(): Promise<void> {
  await using disk = await StuckDisk.mount();
  const stuck = await openPod(daemon, bare());
  // More than the pool has threads.
  const volumes = Array.from({ length: 24 }, (_, at) => `${disk.directory}/hang/${at}`);
  const create = (hostPath: string) =>
    createIn(stuck, container({ mounts: [{ containerPath: "/disk", hostPath }] }));
  let failed = 0;
  const failures = volumes.map((volume) =>
    assert
      .rejects(create(volume), (error) => {
        failsWith(code.unavailable, /file system.* not answer/)(error);
        assert.ok(String(error).includes(`"${volume}"`));
        return true;
      })
      .finally(() => (failed += 1)),
  );
  await until("one hangs", () => disk.hanging > 0);
  await withPod(daemon, pod(), async (free) => {
    const id = await runIn({ daemon, id: free, config: pod() });
    assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
    await stop(daemon, id);
  });
  assert.equal(failed, 0, "the other pod had to wait");
  await Promise.all(failures);
  await closePod(stuck);
  await disk.release();
}

describe("a process that hangs in the kernel", { skip: noStuckDisk }, () => {
  before(async () => {
    node = await Node.startWithBusybox();
    daemon = node.daemon;
    // Otherwise the bridge of the first pod would count as a leak.
    await withPod(daemon, pod(), async () => undefined);
  });
  after(() => node[Symbol.asyncDispose]());

  // All at once, because most of the time is the timeout of kills that fail.
  test(
    "is named in the errors of what waits for it, delays nothing else, and leaves nothing when it continues",
    leakless(served, async () => {
      await Promise.all([stopAndRemove(), outliveFirstProcess(), checkVolumes()]);
      assert.deepEqual(await failedTeardowns(), []);
    }),
  );
});
