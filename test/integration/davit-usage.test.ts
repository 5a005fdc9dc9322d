/** davit.v1.Containers/Usage: what containers use, and used until their end. */
// variants: shim
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { UsageResponse } from "../../src/gen/davit/v1/containers_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  closePod,
  createIn,
  exec,
  exited,
  Node,
  openPod,
  type Pod,
  remove,
  runIn,
  script,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, launchDaemon, until } from "../support/suites/pods.ts";

const mebibyte = 1024n * 1024n;

let node: Node;
let daemon: TestDaemon;
let pod: Pod;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  pod = await openPod(daemon, bare());
});
after(async () => {
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

const usage = (containerId: string): Promise<UsageResponse> =>
  daemon.client.containers.usage({ containerId });

/** The fields that are known, without the time. */
function known(response: UsageResponse): Readonly<Record<string, unknown>> {
  const { $typeName: _type, timeNs: _time, ...rest } = response;
  return rest;
}

/** Uses 24 MiB and some processor time, then does what follows. */
const work = "dd if=/dev/zero of=/dev/null bs=25165824 count=20 2>/dev/null";

test("a running container has current figures, and an ended one its last ones, across restarts", async () => {
  const id = await runIn(
    pod,
    script(`${work}; touch /tmp/worked; read line; exit 3`, { stdin: true }),
  );
  await until("it has worked", async () => {
    return (await exec(daemon, id, ["test", "-e", "/tmp/worked"])).exitCode === 0;
  });
  const running = await usage(id.slice(0, 12));
  assert.equal(running.ended, false);
  assert.ok((running.cpuNs ?? 0n) > 0n && (running.memoryBytes ?? 0n) > 0n);
  assert.ok((running.pids ?? 0n) >= 1n);
  assert.equal(running.oomKills, 0n);
  assert.ok((running.memoryPeakBytes ?? 24n * mebibyte) >= 24n * mebibyte);

  await daemon.client.runtime.stopContainer({ containerId: id, timeout: 0n });
  await exited(daemon, id);
  const ended = await usage(id);
  assert.equal(ended.ended, true);
  assert.ok((ended.cpuNs ?? 0n) >= (running.cpuNs ?? 0n) && ended.timeNs >= running.timeNs);
  assert.equal(ended.memoryPeakBytes === undefined, running.memoryPeakBytes === undefined);
  assert.deepEqual([ended.memoryBytes, ended.pids], [undefined, undefined]);

  await daemon.kill9();
  await launchDaemon(daemon);
  assert.deepEqual(await usage(id), ended);
  await remove(daemon, id);
});

test("a container that ended while no daemon ran has its last figures, too", async () => {
  const id = await runIn(
    pod,
    script(`${work}; while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 3`),
  );
  // It ends without a daemon: a command in it outlives the call that began it.
  await exec(daemon, id, ["/bin/sh", "-c", "(sleep 2; touch /tmp/go) > /dev/null 2>&1 &"]);
  await daemon.kill9();
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  await launchDaemon(daemon);
  assert.equal((await exited(daemon, id)).exitCode, 3);
  const ended = await usage(id);
  assert.equal(ended.ended, true);
  assert.ok(
    (ended.cpuNs ?? 0n) > 0n,
    JSON.stringify(known(ended), (_, v) => String(v)),
  );
  await remove(daemon, id);
});

test("counts the kills of the kernel for lack of memory", async () => {
  const resources = { memoryLimitInBytes: 16n * mebibyte, memorySwapLimitInBytes: 16n * mebibyte };
  const config = script("dd if=/dev/zero of=/dev/null bs=67108864 count=1; exit 1", {
    linux: { resources },
  });
  const id = await runIn(pod, config);
  await exited(daemon, id);
  const ended = await usage(id);
  assert.ok((ended.oomKills ?? 0n) >= 1n);
  assert.ok((ended.memoryPeakBytes ?? 16n * mebibyte) >= 15n * mebibyte);
  await remove(daemon, id);
});

test("rejects a container that was never started, and one that is not there", async () => {
  const id = await createIn(pod);
  await assert.rejects(usage(id), failsWith(code.failedPrecondition, /was never started/));
  await assert.rejects(usage("0000"), failsWith(code.notFound));
  await assert.rejects(usage(""), failsWith(code.invalidArgument));
  await remove(daemon, id);
});
