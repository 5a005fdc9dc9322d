/** Many pods, in sequence and at the same time: no errors, no leaks, no growth, and no wait for a disk. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { DaemonMemory } from "../support/daemon-memory.ts";
import { SyncTrace, withoutStrace } from "../support/sync-trace.ts";
import {
  containerStatus,
  Node,
  remove,
  RUNNING,
  runIn,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  CONTAINER,
  leakless,
  listIds,
  NODE,
  NOTREADY,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  statusOf,
  stopPod,
} from "../support/suites/pods.ts";

const lives = 200;
const atOnce = 50;
const warmUpLives = 24;

/** What a life may leave: some 40 bytes are usual, a forgotten promise of a pod is more than this. */
const heapBytesPerLife = 512;
/** What V8 keeps for itself weighs more with fewer lives. */
const heapBytesPerBurstLife = 1024;
/** Each status has a deadline that stays in memory until it is over: 2 s (engine/sandbox/status.ts). */
const deadlinesMs = 2_500;
/** Malloc's and V8's arenas breathe by a few MiB; a leak of 100 KiB a pod is 20. */
const residentBytes = 16 << 20;

const directory = mkdtempSync(path.join(tmpdir(), "davit-load-"));
const trace = new SyncTrace(directory);

let node: Node;
let daemon: TestDaemon;
let memory: DaemonMemory;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox({ entry: trace.entry });
  daemon = node.daemon;
  memory = await DaemonMemory.attach(daemon.pid);
  if (withoutStrace === false) await trace.begin(daemon.paths.root);
  // This creates the bridge, compiles code, starts threads and fills caches.
  for (let at = 0; at < warmUpLives; at++) await liveOnce(kindOfPod(at), at % 4 === 0);
  await liveAtOnce(atOnce);
});
after(async () => {
  memory[Symbol.dispose]();
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** All kinds of pods in turn; most have a network. */
function kindOfPod(at: number): PodSandboxConfig {
  switch (at % 4) {
    case 0:
      return pod({ pid: POD });
    case 1:
      return pod({ pid: CONTAINER });
    case 2:
      return pod({ pid: NODE, ipc: NODE });
    default:
      return at % 8 === 3 ? bare() : pod({ pid: CONTAINER }, { hostname: "" });
  }
}

async function liveOnce(config: PodSandboxConfig, withContainer: boolean): Promise<void> {
  const id = await runPod(daemon, config);
  await checkReady(id, config);
  if (withContainer) {
    const container = await runIn({ daemon, id, config });
    assert.equal((await containerStatus(daemon, container)).state, RUNNING);
    await stop(daemon, container);
    assert.equal((await containerStatus(daemon, container)).exitCode, 137);
    await remove(daemon, container);
  }
  await stopPod(daemon, id);
  const stopped = await statusOf(daemon, id);
  assert.equal(stopped.state, NOTREADY);
  assert.equal(stopped.network?.ip ?? "", "");
  await removePod(daemon, id);
}

async function checkReady(id: string, config: PodSandboxConfig): Promise<string> {
  const status = await statusOf(daemon, id);
  assert.equal(status.state, READY);
  const onHost = config.linux?.securityContext?.namespaceOptions?.network === NODE;
  const ip = status.network?.ip ?? "";
  assert.equal(ip === "", onHost, `address "${ip}"`);
  return ip;
}

/** Starts all pods at once, every other with a container, then stops and removes all at once. */
async function liveAtOnce(count: number): Promise<void> {
  const configs = Array.from({ length: count }, (_, at) => kindOfPod(at));
  const ids = await Promise.all(
    configs.map(async (config, at) => {
      const id = await runPod(daemon, config);
      if (at % 2 === 0) await runIn({ daemon, id, config });
      return id;
    }),
  );
  assert.equal(new Set(ids).size, count);
  assert.deepEqual([...(await listIds(daemon))].toSorted(), ids.toSorted());
  const ready = await Promise.all(
    configs.map(async (config, at) => checkReady(ids[at] ?? "", config)),
  );
  const { containers } = await daemon.client.runtime.listContainers({});
  assert.equal(containers.filter(({ state }) => state === RUNNING).length, count / 2);
  const addresses = ready.filter((ip) => ip !== "");
  assert.equal(new Set(addresses).size, addresses.length, "two pods have one address");
  await Promise.all(
    ids.map(async (id) => {
      await stopPod(daemon, id);
      await removePod(daemon, id);
    }),
  );
  assert.deepEqual(await listIds(daemon), []);
}

describe(`${lives} pods, one after another, every fourth with a container`, () => {
  test(
    "leave nothing and use no memory",
    leakless(served, async () => {
      const first = await memory.use();
      for (let at = 0; at < lives; at++) await liveOnce(kindOfPod(at), at % 4 === 0);
      await sleep(deadlinesMs);
      const last = await memory.use();
      const perLife = Math.round((last.heap - first.heap) / lives);
      assert.ok(perLife < heapBytesPerLife, `a life leaves ${perLife} bytes in the heap`);
      const grown = last.resident - first.resident;
      assert.ok(grown < residentBytes, `${lives} lives took ${grown} bytes of memory`);
    }),
  );

  test("wait for no disk", { skip: withoutStrace }, () => {
    trace.assertOnlyCheckpoints(daemon.pid);
  });
});

test(
  `${atOnce} pods at once, and their ends at once, leave nothing and take no memory`,
  leakless(served, async () => {
    const first = await memory.use();
    await liveAtOnce(atOnce);
    await sleep(deadlinesMs);
    const last = await memory.use();
    const perLife = Math.round((last.heap - first.heap) / atOnce);
    assert.ok(perLife < heapBytesPerBurstLife, `a life leaves ${perLife} bytes in the heap`);
  }),
);
