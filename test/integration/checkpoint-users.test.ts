/** Checkpoints of pods in user namespaces. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  CheckpointDirectory,
  checkpointContainer,
  checkpointNode,
  checkpointPod,
  continuesFrom,
  counter,
  isPaused,
  stateOf,
} from "../support/suites/checkpoints.ts";
import { createIn, inPod, type Node, runIn, start } from "../support/suites/containers.ts";
import { code, failsWith, mapped, pod as podOf } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const directory = new CheckpointDirectory();

before(async () => {
  node = await checkpointNode(directory);
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

test("a pod in a user namespace is not captured as a whole, since it could not be restored", () =>
  inPod(daemon, mapped(), async (pod) => {
    const id = await runIn(pod, counter());
    const refused = failsWith(code.failedPrecondition, /it has a user namespace, into which CRIU/);
    await assert.rejects(checkpointPod(pod, [id], directory.make()), refused);
    assert.equal(await isPaused(daemon, id), false);
  }));

test("a container in a user namespace is captured for analysis, and restored nowhere", async () => {
  const location = directory.at("users.tar");
  await inPod(daemon, mapped(), async (pod) => {
    const id = await runIn(pod, counter());
    const seen = await stateOf(daemon, id);
    await checkpointContainer(daemon, id, location);
    await continuesFrom(daemon, id, seen);
    const create = createIn(pod, counter({ image: { image: location } }));
    const refused = failsWith(code.failedPrecondition, /has a user namespace, into which CRIU/);
    await assert.rejects(create, refused);
  });
  await inPod(daemon, podOf(), async (pod) => {
    const id = await createIn(pod, counter({ image: { image: location } }));
    const refused = failsWith(code.permissionDenied, /has a user namespace, which the container/);
    await assert.rejects(start(daemon, id), refused);
  });
  rmSync(location);
});
