/** Callers of RunPodSandbox that disconnect before the answer: the number of held sandboxes is limited. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { kindOf } from "../../src/base/errors.ts";
import { maxUnclaimed } from "../../src/engine/lifecycle/inflight-creates.ts";
import {
  bare,
  endDaemon,
  launchDaemon,
  listIds,
  removePod,
  runtimeFact,
  startDaemon,
  until,
} from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

let daemon: TestDaemon;
before(async () => {
  daemon = await startDaemon();
});
after(async () => {
  // The next daemon lists the held pods. They are removed with the others.
  await daemon.stop();
  await launchDaemon(daemon);
  await endDaemon(daemon);
});

async function lengthOf(fact: "heldCreates" | "inflight" | "unfinishedRemovals"): Promise<number> {
  const list = await runtimeFact(daemon, fact);
  assert.ok(Array.isArray(list));
  return list.length;
}

/** Asks for pods and leaves while they are made. Resolves when the creates have ended in one way or the other. */
async function runForNobody(count: number): Promise<void> {
  const caller = new AbortController();
  const calls = Array.from({ length: count }, async () => {
    try {
      const request = { config: bare() };
      const { signal } = caller;
      return (await daemon.client.runtime.runPodSandbox(request, { signal })).podSandboxId;
    } catch (error) {
      assert.equal(kindOf(error), "canceled", String(error));
      return undefined;
    }
  });
  await until("creates are under way", async () => (await lengthOf("inflight")) > 0);
  caller.abort();
  for (const tooQuick of await Promise.all(calls)) {
    if (tooQuick !== undefined) await removePod(daemon, tooQuick);
  }
  await until("no create is under way", async () => (await lengthOf("inflight")) === 0);
}

test(`of pods that no caller claims, ${maxUnclaimed} are held and the others are removed`, async () => {
  let held = 0;
  for (let tries = 0; held < maxUnclaimed; tries++) {
    assert.ok(tries < 200, "too few creates were canceled in their midst");
    await runForNobody(32);
    held = await lengthOf("heldCreates");
    assert.ok(held <= maxUnclaimed, `${held} are held`);
  }
  await runForNobody(32);
  assert.equal(await lengthOf("heldCreates"), maxUnclaimed);
  await until("the others are gone", async () => {
    // A create whose answer crossed its cancel counts as answered, so its pod is listed.
    const kept = maxUnclaimed + (await listIds(daemon)).length;
    const pods = readdirSync(path.join(daemon.paths.state, "sandboxes")).length;
    return pods === kept && (await lengthOf("unfinishedRemovals")) === 0;
  });
});
