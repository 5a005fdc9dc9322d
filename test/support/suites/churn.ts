/** A churn of pods against a daemon, and the judgement of what it left: for a sample and in full. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { type PodSandboxConfig, Protocol } from "../../../src/gen/runtime/v1/api_pb.ts";
import { Churn } from "../churn.ts";
import { DaemonMemory } from "../daemon-memory.ts";
import { type Look, lookAt } from "../growth.ts";
import { portmapKeeps, withLeakCheck } from "../leaks.ts";
import { chooseSeed, Random } from "../random.ts";
import { busybox, Node } from "./containers.ts";
import {
  bare,
  CONTAINER,
  leakOptions,
  listIds,
  NODE,
  POD,
  pod,
  runtimeFact,
  until,
} from "./pods.ts";

/** Short, so that what nobody came back for is taken down within the test. */
const holdSeconds = 2;
const firstHostPort = 20_000;

/** How much there is of it. */
export interface ChurnSize {
  readonly pods: number;
  readonly parallel: number;
  /** After so many pods memory and descriptors are looked at. */
  readonly lookEvery: number;
  /** How the daemon is run, if not as usual. */
  readonly entry?: readonly string[];
  /** Called with the daemon's pid when its image is there, and when all pods have been. */
  readonly onBegin?: (daemonPid: number) => void;
  readonly onEnd?: (daemonPid: number) => void;
}

/**
 * Lets pods live and die under all kinds of trouble. Fails when a call ended as it must not, a pod
 * did not reach its goal, or anything is left; returns what the daemon held on the way.
 */
export async function churn(t: TestContext, size: ChurnSize): Promise<readonly Look[]> {
  const seed = chooseSeed();
  t.diagnostic(`seed ${seed} (DAVIT_TEST_SEED)`);
  await using node = await Node.startWithBusybox({
    config: { runtime: { retry_hold_seconds: holdSeconds } },
    ...(size.entry === undefined ? {} : { entry: size.entry }),
  });
  const { daemon } = node;
  size.onBegin?.(daemon.pid);
  const logs = path.join(daemon.paths.directory, "pod-logs");
  const run = new Churn({
    client: daemon.client,
    random: new Random(seed),
    image: busybox,
    podConfig: (random, at) => podOf(random, at, logs),
  });
  using memory = await DaemonMemory.attach(daemon.pid);
  // Makes the bridge, compiles the code, opens the threads, fills the caches.
  await run.lives(size.lookEvery, size.parallel);
  await untilQuiet(node);

  const looks: Look[] = [];
  const { allow, ...options } = leakOptions(daemon);
  // The first pod with a port of the host may come late.
  await withLeakCheck(t, { ...options, allow: { ...allow, ...portmapKeeps } }, async () => {
    for (let pods = size.lookEvery; ; pods += size.lookEvery) {
      looks.push(await lookAt(daemon.pid, memory, pods));
      if (pods >= size.pods) break;
      await run.lives(size.lookEvery, size.parallel);
      await untilQuiet(node);
    }
    rmSync(logs, { recursive: true, force: true });
  });
  size.onEnd?.(daemon.pid);
  t.diagnostic(run.ledger.summary());
  for (const look of looks) t.diagnostic(JSON.stringify(look));
  assert.deepEqual(run.ledger.violations, [], `seed ${seed}`);
  return looks;
}

/** All kinds of pods; most have a network of their own, some a port of the host. */
function podOf(random: Random, at: number, logs: string): PodSandboxConfig {
  const logDirectory = path.join(logs, `pod-${at}`);
  const hostPort = firstHostPort + (at % 10_000);
  const portMappings = [{ protocol: Protocol.TCP, containerPort: 80, hostPort }];
  const dice = random.next();
  if (dice < 0.2) return pod({ pid: POD }, { logDirectory });
  if (dice < 0.3) return pod({ pid: POD }, { logDirectory, portMappings });
  if (dice < 0.4) return pod({ pid: NODE, ipc: NODE }, { logDirectory });
  if (dice < 0.6) return bare({ logDirectory });
  return pod({ pid: CONTAINER }, { logDirectory });
}

/** Resolves when nothing is under way or held any more, and nothing is left to be deleted. */
async function untilQuiet({ daemon }: Node): Promise<void> {
  const facts = ["inflight", "heldCreates", "unfinishedRemovals", "pendingNetworkRemovals"];
  for (const fact of facts) {
    await until(`Status has no ${fact}`, async () => {
      const left = await runtimeFact(daemon, fact);
      return Array.isArray(left) && left.length === 0;
    });
  }
  assert.deepEqual(await listIds(daemon), []);
  assert.deepEqual((await daemon.client.runtime.listContainers({})).containers, []);
}
