/** Runs a churn of pods against a daemon, and checks what it left: for the short test and for the full one. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { type PodSandboxConfig, Protocol } from "../../../src/gen/runtime/v1/api_pb.ts";
import { Churn } from "../churn.ts";
import type { TestDaemon } from "../daemon.ts";
import { DaemonMemory } from "../daemon-memory.ts";
import { type Sample, takeSample } from "../growth.ts";
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

/** Short, so that pods whose create is never retried are removed within the test. */
const holdSeconds = 2;
const firstHostPort = 20_000;

/** The size of a churn. */
interface ChurnSize {
  readonly pods: number;
  readonly parallel: number;
  /** A sample of memory and descriptors is taken after every so many pods. */
  readonly sampleEvery: number;
  /** The command of the daemon, if not the usual one. */
  readonly entry?: readonly string[];
  /** Called when the image is pulled, and with the daemon's pid after the last pod. */
  readonly onBegin?: (daemon: TestDaemon) => Promise<void>;
  readonly onEnd?: (daemonPid: number) => void;
}

/**
 * Runs and removes pods while calls are cancelled, repeated and cut short. Fails when a call ended in a way that
 * the CRI does not allow, when a pod did not reach its goal, or when anything is left. Returns the samples.
 */
export async function churn(t: TestContext, size: ChurnSize): Promise<readonly Sample[]> {
  const seed = chooseSeed();
  t.diagnostic(`seed ${seed} (DAVIT_TEST_SEED)`);
  await using node = await Node.startWithBusybox({
    config: { runtime: { retry_hold_seconds: holdSeconds } },
    ...(size.entry === undefined ? {} : { entry: size.entry }),
  });
  const { daemon } = node;
  await size.onBegin?.(daemon);
  const logs = path.join(daemon.paths.directory, "pod-logs");
  const run = new Churn({
    client: daemon.client,
    random: new Random(seed),
    image: busybox,
    podConfig: (random, at) => podOf(random, at, logs),
  });
  using memory = await DaemonMemory.attach(daemon.pid);
  // Creates the bridge, compiles the code, opens the threads, fills the caches.
  await run.lives(size.sampleEvery, size.parallel);
  await untilQuiet(node);

  const samples: Sample[] = [];
  const { allow, ...options } = leakOptions(daemon);
  // The first pod with a host port may be a late one.
  await withLeakCheck(t, { ...options, allow: { ...allow, ...portmapKeeps } }, async () => {
    for (let pods = size.sampleEvery; ; pods += size.sampleEvery) {
      samples.push(await takeSample(daemon.pid, memory, pods));
      if (pods >= size.pods) break;
      await run.lives(size.sampleEvery, size.parallel);
      await untilQuiet(node);
    }
    rmSync(logs, { recursive: true, force: true });
  });
  size.onEnd?.(daemon.pid);
  t.diagnostic(run.ledger.summary());
  for (const sample of samples) t.diagnostic(JSON.stringify(sample));
  assert.deepEqual(run.ledger.violations, [], `seed ${seed}`);
  return samples;
}

/** All kinds of pods. Most have a network of their own, some a host port. */
export function podOf(random: Random, at: number, logs: string): PodSandboxConfig {
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

/**
 * Resolves when no operation runs, no create is held for a retry, and no removal is pending. Only the sandboxes
 * `kept` are there then, each with one container.
 */
export async function untilQuiet({ daemon }: Node, kept: readonly string[] = []): Promise<void> {
  const facts = ["inflight", "heldCreates", "unfinishedRemovals", "pendingNetworkRemovals"];
  for (const fact of facts) {
    await until(`Status has no ${fact}`, async () => {
      const left = await runtimeFact(daemon, fact);
      return Array.isArray(left) && left.length === 0;
    });
  }
  assert.deepEqual(await listIds(daemon), kept);
  const { containers } = await daemon.client.runtime.listContainers({});
  assert.deepEqual(
    containers.map(({ podSandboxId }) => podSandboxId),
    kept,
  );
}
