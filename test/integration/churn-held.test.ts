/** A container whose create was never retried is removed with its pod, and its name is free again. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { kindOf } from "../../src/base/errors.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  type ContainerInit,
  closePod,
  container,
  createIn,
  Node,
  openPod,
  type Pod,
  remove,
  requestIn,
} from "../support/suites/containers.ts";
import { bare, leakless, pod as podOf, removePod, runtimeFact } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  await closePod(await openPod(daemon, podOf()));
});
after(() => node[Symbol.asyncDispose]());

async function heldCreates(): Promise<readonly unknown[]> {
  const held = await runtimeFact(daemon, "heldCreates");
  assert.ok(Array.isArray(held));
  return held as readonly unknown[];
}

/** Cancels creates of this container, sooner or later, until one was finished for nobody. */
async function createForNobody(pod: Pod, config: ContainerInit): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const afterMs = tries % 30;
    const caller = new AbortController();
    const call = daemon.client.runtime.createContainer(requestIn(pod, config), {
      signal: caller.signal,
    });
    const answered = call.then(
      ({ containerId }) => containerId,
      async (error: unknown) => {
        if (kindOf(error) === "canceled") return undefined;
        // The previous try was answered, but its caller had left.
        assert.equal(kindOf(error), "already-exists", String(error));
        const { containers } = await daemon.client.runtime.listContainers({});
        return containers.find(({ podSandboxId }) => podSandboxId === pod.id)?.id;
      },
    );
    await sleep(afterMs);
    caller.abort();
    const tooQuick = await answered;
    if (tooQuick !== undefined) await remove(daemon, tooQuick);
    for (let busy = true; busy; ) {
      const inflight = await runtimeFact(daemon, "inflight");
      busy = Array.isArray(inflight) && inflight.length > 0;
    }
    if ((await heldCreates()).length > 0) return;
  }
  assert.fail("no create was cancelled in its midst");
}

test(
  "a container that is held for its retry goes with its pod, and its name is free at once",
  leakless(served, async () => {
    const config = bare();
    const wanted = container();
    const first = await openPod(daemon, config);
    await createForNobody(first, wanted);
    assert.equal((await heldCreates()).length, 1);
    await removePod(daemon, first.id);
    assert.deepEqual(await heldCreates(), []);
    // The same pod and container again. The request differs, because the sandbox has another id.
    const second = await openPod(daemon, config);
    await createIn(second, wanted);
    await closePod(second);
  }),
);
